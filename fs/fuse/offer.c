/* SPDX-License-Identifier: BSD-3-Clause */
/* Offers in a tree by token, which is random, so how long a lookup takes says nothing that would help to guess one;
 * and in a list by age. Those that are too old go whenever a new one is made.
 */
#include "fs/fuse/offer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

struct offer {
	RB_ENTRY(offer) link;
	struct cds_list_head time_link;
	struct file *file;
	int64_t until_s;          /* CLOCK_MONOTONIC */
	uint8_t token[OFFER_TOKEN];
};

static int
offer_cmp(const struct offer *a, const struct offer *b)
{
	return memcmp(a->token, b->token, OFFER_TOKEN);
}

RB_GENERATE_INTERNAL(offer_tree, offer, link, offer_cmp, static __attribute__((unused)))

static int64_t
now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

void
offers_init(struct offers *s)
{
	mtx_init(&s->lock, LOCK_LEAF, 0);
	RB_INIT(&s->by_token);
	CDS_INIT_LIST_HEAD(&s->by_time);
}

static void
remove_locked(struct offers *s, struct offer *o)
{
	RB_REMOVE(offer_tree, &s->by_token, o);
	cds_list_del(&o->time_link);
	o->file->offer = NULL;
	free(o);
}

void
offers_destroy(struct offers *s)
{
	struct offer *o, *next;

	cds_list_for_each_entry_safe(o, next, &s->by_time, time_link)
		remove_locked(s, o);
	mtx_destroy(&s->lock);
}

int
offer_make(struct offers *s, struct file *f, uint8_t token[OFFER_TOKEN])
{
	struct offer *o = malloc(sizeof(*o)), *old, *next;
	int64_t now = now_s();

	if (!o)
		return -ENOMEM;
	*o = (struct offer){ .file = f, .until_s = now + OFFER_S };
	if (getrandom(o->token, OFFER_TOKEN, 0) != OFFER_TOKEN) {
		free(o);
		return -EAGAIN;
	}
	memcpy(token, o->token, OFFER_TOKEN);
	mtx_lock(&s->lock);
	cds_list_for_each_entry_safe(old, next, &s->by_time, time_link) {
		if (old->until_s > now)
			break;
		remove_locked(s, old);
	}
	if (f->offer)
		remove_locked(s, f->offer);
	RB_INSERT(offer_tree, &s->by_token, o);
	cds_list_add_tail(&o->time_link, &s->by_time);
	f->offer = o;
	mtx_unlock(&s->lock);
	return 0;
}

int
offer_redeem(struct offers *s, const uint8_t token[OFFER_TOKEN], struct file *f)
{
	struct offer key, *o;
	int r = -ESTALE;

	memcpy(key.token, token, OFFER_TOKEN);
	mtx_lock(&s->lock);
	o = RB_FIND(offer_tree, &s->by_token, &key);
	if (o && o->until_s > now_s()) {
		*f = (struct file){ .inode = inode_hold(o->file->inode), .flags = o->file->flags };
		r = 0;
	}
	if (o)
		remove_locked(s, o);
	mtx_unlock(&s->lock);
	return r;
}

void
offer_withdraw(struct offers *s, struct file *f)
{
	mtx_lock(&s->lock);
	if (f->offer)
		remove_locked(s, f->offer);
	mtx_unlock(&s->lock);
}
