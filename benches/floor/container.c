/* The floor of running a container: the kernel work of its namespaces, mounts, root and filter.
 *
 * usage: container minimal|kubernetes ROOTFS FILTER BIND
 *
 * One static program makes one process with clone3 and waits for it. FILTER is a file of compiled
 * instructions and BIND a host file that is mounted twice; both are for "kubernetes" only. No
 * configuration is read, nothing is checked, no control group is made and nothing is recorded. */
#define _GNU_SOURCE
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

static void contain(int full, char **argv)
{
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
	if (argc != 5)
		return 2;
	int full = !strcmp(argv[1], "kubernetes"), status;
	if (full)
		read_filter(argv[3]);
	struct clone_args args = { .exit_signal = SIGCHLD };
	args.flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS;
	if (full)
		args.flags |= CLONE_NEWNET | CLONE_NEWCGROUP;
	long child = syscall(SYS_clone3, &args, sizeof args);
	if (child < 0)
		die("clone3");
	if (!child)
		contain(full, argv);
	if (waitpid((pid_t)child, &status, 0) < 0)
		die("wait");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 124;
}
