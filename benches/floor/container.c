/* The floor of running a container: the kernel work of its namespaces, mounts, root and filter.
 *
 * usage: container minimal|kubernetes ROOTFS FILTER BIND [GROUP]
 *
 * One static program makes one process with clone3 and waits for it. FILTER is a file of compiled
 * instructions and BIND a host file that is mounted twice; both are for "kubernetes" only. With GROUP,
 * a path, a control group is made in every tree below /sys/fs/cgroup, limited, entered and removed; its
 * parents are there. No configuration is read, nothing is checked and nothing is recorded. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAFE (MS_NOSUID | MS_NODEV | MS_NOEXEC)

static void die(const char *subject)
{
	perror(subject);
	_exit(125);
}

static void put(const char *what, const char *at, const char *kind, unsigned long flags, const char *data)
{
	if (mount(what, at, kind, flags, data) < 0)
		die(at);
}

static void devices(void)
{
	static const struct { const char *at; unsigned minor; } all[] = {
		{ "dev/null", 3 }, { "dev/zero", 5 }, { "dev/full", 7 }, { "dev/random", 8 }, { "dev/urandom", 9 },
	};
	umask(0);
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
		if (mknod(all[i].at, S_IFCHR | 0666, makedev(1, all[i].minor)) < 0)
			die(all[i].at);
	if (mknod("dev/tty", S_IFCHR | 0666, makedev(5, 0)) < 0)
		die("dev/tty");
	if (symlink("/proc/self/fd", "dev/fd") || symlink("/proc/self/fd/0", "dev/stdin") ||
	    symlink("/proc/self/fd/1", "dev/stdout") || symlink("/proc/self/fd/2", "dev/stderr"))
		die("dev");
	umask(022);
}

static void bind(const char *what, const char *at, unsigned long flags)
{
	put(what, at, NULL, MS_BIND | MS_REC, NULL);
	if (flags)
		put(NULL, at, NULL, MS_BIND | MS_REMOUNT | flags, NULL);
}

static void more_mounts(const char *file)
{
	if (mkdir("dev/pts", 0755) || mkdir("dev/mqueue", 0755) || mkdir("dev/shm", 0755))
		die("dev");
	put("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
	put("mqueue", "dev/mqueue", "mqueue", SAFE, NULL);
	put("sysfs", "sys", "sysfs", SAFE | MS_RDONLY, NULL);
	put("tmpfs", "sys/fs/cgroup", "tmpfs", SAFE, "mode=755");
	put("tmpfs", "dev/shm", "tmpfs", SAFE, "mode=1777,size=65536k");
	put("tmpfs", "run/secrets", "tmpfs", SAFE, "size=1024k");
	bind(file, "etc/hosts", MS_RDONLY);
	bind(file, "etc/resolv.conf", 0);
}

static void masks(void)
{
	static const char *const files[] = { "/proc/kcore", "/proc/keys", "/proc/timer_list" };
	static const char *const dirs[] = { "/proc/acpi", "/proc/scsi", "/sys/firmware" };
	static const char *const fixed[] = { "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger" };
	for (unsigned i = 0; i < sizeof files / sizeof *files; i++)
		if (mount("/dev/null", files[i], NULL, MS_BIND, NULL) < 0 && errno != ENOENT)
			die(files[i]);
	for (unsigned i = 0; i < sizeof dirs / sizeof *dirs; i++)
		if (mount("tmpfs", dirs[i], "tmpfs", MS_RDONLY, NULL) < 0 && errno != ENOENT)
			die(dirs[i]);
	for (unsigned i = 0; i < sizeof fixed / sizeof *fixed; i++)
		if (!access(fixed[i], F_OK))
			bind(fixed[i], fixed[i], SAFE | MS_RDONLY);
}

/* The capabilities that containers have by default. */
static void drop_capabilities(void)
{
	const unsigned keep = 0xa80425fb;
	for (int cap = 0; cap <= 40; cap++)
		if (cap > 31 || !(keep >> cap & 1))
			prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { { keep, keep, 0 }, { 0, 0, 0 } };
	if (syscall(SYS_capset, &head, data) < 0)
		die("capset");
}

static struct sock_filter code[4096];
static struct sock_fprog program = { 0, code };

static void read_filter(const char *path)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t bytes = file < 0 ? -1 : read(file, code, sizeof code);
	if (bytes <= 0)
		die(path);
	program.len = (unsigned short)(bytes / (ssize_t)sizeof *code);
	close(file);
}

static void filter(void)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program))
		die("seccomp");
}

#define TREES 16
/* Of each tree: where the group is, and the file by which a process moves itself into it. */
static struct { char at[512]; int tasks; } groups[TREES];
static int trees, unified = -1;

static int set(const char *group, const char *file, const char *value)
{
	char path[600];
	snprintf(path, sizeof path, "%s/%s", group, file);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (write(fd, value, strlen(value)) < 0)
		die(path);
	close(fd);
	return 1;
}

static void copy(const char *top, const char *group, const char *file)
{
	char path[600], value[256];
	snprintf(path, sizeof path, "%s/%s", top, file);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, value, sizeof value - 1);
	if (length < 0)
		die(path);
	close(fd);
	value[length] = 0;
	set(group, file, value);
}

static void limit(const char *group, int v2)
{
	static const char *const devices[] = { "c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm",
		"c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm" };
	set(group, v2 ? "memory.max" : "memory.limit_in_bytes", "134217728");
	set(group, v2 ? "cpu.weight" : "cpu.shares", v2 ? "4" : "102");
	set(group, v2 ? "cpu.max" : "cpu.cfs_quota_us", v2 ? "50000 100000" : "50000");
	set(group, "pids.max", "1024");
	if (set(group, "devices.deny", "a"))
		for (unsigned i = 0; i < sizeof devices / sizeof *devices; i++)
			set(group, "devices.allow", devices[i]);
}

static void make_group(const char *top, const char *path, int full, int v2)
{
	char *at = groups[trees].at;
	snprintf(at, sizeof groups->at, "%s/%s", top, path);
	if (mkdir(at, 0755) < 0)
		die(at);
	if (!v2 && !strcmp(top, "/sys/fs/cgroup/cpuset"))
		for (int i = 0; i < 2; i++)
			copy(top, at, i ? "cpuset.mems" : "cpuset.cpus");
	if (full)
		limit(at, v2);
	char tasks[600];
	snprintf(tasks, sizeof tasks, "%s/tasks", at);
	if (v2)
		unified = open(at, O_PATH | O_DIRECTORY | O_CLOEXEC);
	groups[trees++].tasks = v2 ? -1 : open(tasks, O_WRONLY | O_CLOEXEC);
}

static void make_groups(const char *path, int full)
{
	static const char root[] = "/sys/fs/cgroup";
	char top[300];
	if (!access("/sys/fs/cgroup/cgroup.controllers", F_OK)) {
		make_group(root, path, full, 1);
		return;
	}
	DIR *all = opendir(root);
	for (struct dirent *one; all && trees < TREES && (one = readdir(all));) {
		snprintf(top, sizeof top, "%s/%s/tasks", root, one->d_name);
		if (one->d_type != DT_DIR || *one->d_name == '.' || access(top, F_OK))
			continue;
		*strrchr(top, '/') = 0;
		make_group(top, path, full, 0);
	}
	if (all)
		closedir(all);
}

static void enter_groups(void)
{
	for (int i = 0; i < trees; i++)
		if (groups[i].tasks >= 0 && write(groups[i].tasks, "0", 1) < 0)
			die(groups[i].at);
}

static void contain(int full, char **argv)
{
	enter_groups();
	if (full && unshare(CLONE_NEWCGROUP))
		die("cgroup namespace");
	put(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	put(argv[2], argv[2], NULL, MS_BIND | MS_REC, NULL);
	if (chdir(argv[2]))
		die(argv[2]);
	put("proc", "proc", "proc", full ? SAFE : 0, NULL);
	put("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
	devices();
	if (full)
		more_mounts(argv[4]);
	if (syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/"))
		die("pivot_root");
	if (sethostname("bench", 5))
		die("sethostname");
	if (full) {
		struct rlimit files = { 1024, 1024 };
		masks();
		if (setrlimit(RLIMIT_NOFILE, &files))
			die("limit");
		drop_capabilities();
		filter();
	}
	char *const words[] = { "/true", NULL };
	execv(words[0], words);
	die(words[0]);
}

int main(int argc, char **argv)
{
	if (argc != 5 && argc != 6)
		return 2;
	int full = !strcmp(argv[1], "kubernetes"), status;
	if (full)
		read_filter(argv[3]);
	if (argc == 6)
		make_groups(argv[5], full);
	struct clone_args args = { .exit_signal = SIGCHLD };
	args.flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS;
	if (full)
		args.flags |= CLONE_NEWNET;
	if (unified >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (unsigned long long)unified;
	}
	long child = syscall(SYS_clone3, &args, sizeof args);
	if (child < 0)
		die("clone3");
	if (!child)
		contain(full, argv);
	if (waitpid((pid_t)child, &status, 0) < 0)
		die("wait");
	for (int i = 0; i < trees; i++)
		if (rmdir(groups[i].at) < 0)
			die(groups[i].at);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 124;
}
