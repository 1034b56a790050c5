/* A few bytes of rtnetlink: several requests in one buffer, one sendmsg,
 * one acknowledgement each. Only what the floor programs need. */
#ifndef RTNL_H
#define RTNL_H
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

struct batch {
	uint32_t len, requests;
	struct nlmsghdr *last;
	_Alignas(NLMSG_ALIGNTO) char bytes[4096];
};

static inline void die(const char *subject)
{
	perror(subject);
	exit(1);
}

/* Starts a request with its fixed header; attributes follow. */
static inline void *request(struct batch *b, uint16_t type, uint16_t flags, size_t size)
{
	struct nlmsghdr *h = (void *)(b->bytes + b->len);
	memset(h, 0, NLMSG_SPACE(size));
	h->nlmsg_len = NLMSG_LENGTH(size);
	h->nlmsg_type = type;
	h->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	h->nlmsg_seq = ++b->requests;
	b->last = h;
	b->len += NLMSG_SPACE(size);
	return NLMSG_DATA(h);
}

static inline void grow(struct batch *b, size_t size)
{
	b->len += RTA_ALIGN(size);
	b->last->nlmsg_len = (uint32_t)(b->bytes + b->len - (char *)b->last);
}

static inline struct rtattr *attribute(struct batch *b, uint16_t type, const void *data, size_t size)
{
	struct rtattr *a = (void *)(b->bytes + b->len);
	a->rta_type = type;
	a->rta_len = RTA_LENGTH(size);
	if (size)
		memcpy(RTA_DATA(a), data, size);
	grow(b, a->rta_len);
	return a;
}

static inline void close_nest(struct batch *b, struct rtattr *a)
{
	a->rta_len = (uint16_t)(b->bytes + b->len - (char *)a);
}

static inline int open_rtnl(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0)
		die("netlink socket");
	return fd;
}

/* Sends the whole buffer and reads one acknowledgement for each request. */
static inline void commit(int fd, struct batch *b, const char *subject)
{
	char reply[8192];
	uint32_t acks = 0;
	if (send(fd, b->bytes, b->len, 0) < 0)
		die(subject);
	while (acks < b->requests) {
		ssize_t n = recv(fd, reply, sizeof reply, 0);
		if (n < 0)
			die(subject);
		for (struct nlmsghdr *h = (void *)reply; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
			if (h->nlmsg_type != NLMSG_ERROR)
				continue;
			struct nlmsgerr *e = NLMSG_DATA(h);
			acks++;
			if (e->error) {
				errno = -e->error;
				die(subject);
			}
		}
	}
}

static inline int link_index(int fd, const char *name)
{
	struct ifreq r = { 0 };
	strncpy(r.ifr_name, name, IFNAMSIZ - 1);
	if (ioctl(fd, SIOCGIFINDEX, &r) < 0)
		die(name);
	return r.ifr_ifindex;
}

/* Takes the lock file of a lease directory, as every allocator must. */
static inline int lock_leases(const char *dir)
{
	char path[512];
	snprintf(path, sizeof path, "%s/lock", dir);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX) < 0)
		die(path);
	return fd;
}
#endif
