/* The floor of DEL by bridge and host-local: the link goes, the lease goes.
 *
 * usage: bridge-del HOST_IF ADDRESS LEASE_DIR */
#include "rtnl.h"

int main(int argc, char **argv)
{
	char path[512];
	struct batch b = { 0 };
	if (argc != 4)
		return 2;
	struct ifinfomsg *link = request(&b, RTM_DELLINK, 0, sizeof *link);
	link->ifi_family = AF_UNSPEC;
	attribute(&b, IFLA_IFNAME, argv[1], strlen(argv[1]) + 1);
	commit(open_rtnl(), &b, argv[1]);
	lock_leases(argv[3]);
	snprintf(path, sizeof path, "%s/%s", argv[3], argv[2]);
	if (unlink(path) < 0)
		die(path);
	return 0;
}
