/* The floor of ADD by bridge and host-local: the same kernel work, and no more.
 *
 * usage: bridge-add NETNS BRIDGE HOST_IF POD_IF ADDRESS PREFIX GATEWAY LEASE_DIR ID
 *
 * Without a default route if GATEWAY is "-". One process, two namespaces, two netlink sends: a veth pair whose peer is
 * born inside the pod, on the bridge and up; then address and default route.
 * The bridge and its gateway address are there already, as on every node that
 * has run a pod before. The lease is one file in the reference format. */
#include "rtnl.h"
#include <arpa/inet.h>

static void reserve(const char *dir, const char *address, const char *id, const char *ifname)
{
	char path[512], text[512];
	int lock = lock_leases(dir);
	snprintf(path, sizeof path, "%s/%s", dir, address);
	int lease = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int len = snprintf(text, sizeof text, "%s\r\n%s", id, ifname);
	if (lease < 0 || write(lease, text, len) != len)
		die(path);
	snprintf(path, sizeof path, "%s/last_reserved_ip.0", dir);
	int last = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	len = (int)strlen(address);
	if (last < 0 || write(last, address, len) != len)
		die(path);
	close(last);
	close(lease);
	close(lock);
}

static void make_veth(int rtnl, const char *host, int bridge, const char *pod_if, int pod)
{
	struct batch b = { 0 };
	struct ifinfomsg *link = request(&b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof *link);
	struct ifinfomsg peer = { 0 }; /* cannot be up yet: the kernel pairs the ends last */
	link->ifi_flags = link->ifi_change = IFF_UP;
	attribute(&b, IFLA_IFNAME, host, strlen(host) + 1);
	attribute(&b, IFLA_MASTER, &bridge, sizeof bridge);
	struct rtattr *info = attribute(&b, IFLA_LINKINFO, NULL, 0);
	attribute(&b, IFLA_INFO_KIND, "veth", 4);
	struct rtattr *data = attribute(&b, IFLA_INFO_DATA, NULL, 0);
	struct rtattr *other = attribute(&b, VETH_INFO_PEER, &peer, sizeof peer);
	attribute(&b, IFLA_IFNAME, pod_if, strlen(pod_if) + 1);
	attribute(&b, IFLA_NET_NS_FD, &pod, sizeof pod);
	close_nest(&b, other);
	close_nest(&b, data);
	close_nest(&b, info);
	commit(rtnl, &b, host);
}

static void configure(int rtnl, const char *pod_if, const char *address, int prefix, const char *gateway)
{
	struct batch b = { 0 };
	struct in_addr ip, gw;
	int index = link_index(rtnl, pod_if), routed = strcmp(gateway, "-");
	if (!inet_aton(address, &ip) || (routed && !inet_aton(gateway, &gw)))
		die("address");
	struct ifinfomsg *link = request(&b, RTM_NEWLINK, 0, sizeof *link);
	link->ifi_index = index;
	link->ifi_flags = link->ifi_change = IFF_UP;
	struct ifaddrmsg *a = request(&b, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, sizeof *a);
	a->ifa_family = AF_INET;
	a->ifa_prefixlen = (uint8_t)prefix;
	a->ifa_flags = IFA_F_NODAD;
	a->ifa_index = (uint32_t)index;
	attribute(&b, IFA_LOCAL, &ip, sizeof ip);
	attribute(&b, IFA_ADDRESS, &ip, sizeof ip);
	if (routed) {
		struct rtmsg *r = request(&b, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, sizeof *r);
		r->rtm_family = AF_INET;
		r->rtm_table = RT_TABLE_MAIN;
		r->rtm_protocol = RTPROT_BOOT;
		r->rtm_scope = RT_SCOPE_UNIVERSE;
		r->rtm_type = RTN_UNICAST;
		attribute(&b, RTA_GATEWAY, &gw, sizeof gw);
		attribute(&b, RTA_OIF, &index, sizeof index);
	}
	commit(rtnl, &b, "address and route");
}

int main(int argc, char **argv)
{
	if (argc != 10)
		return 2;
	int pod = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (pod < 0)
		die(argv[1]);
	int node = open_rtnl();
	make_veth(node, argv[3], link_index(node, argv[2]), argv[4], pod);
	reserve(argv[8], argv[5], argv[9], argv[4]);
	if (setns(pod, CLONE_NEWNET) < 0)
		die("setns");
	configure(open_rtnl(), argv[4], argv[5], atoi(argv[6]), argv[7]);
	return 0;
}
