/* Runs a program and counts what it starts.
 *
 * usage: tally REPORT PROGRAM
 *
 * Traces the program and all its descendants, and writes one line to REPORT:
 * "execs N processes N threads N maxrss_kib N". The resident set is that of
 * the largest process among them. It is measured from here and not from the
 * benchmark itself because the kernel counts the parent's memory in a child
 * that was made by vfork: this parent is smaller than anything it measures. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define OPTIONS (PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | \
		 PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL)

static void die(const char *subject)
{
	perror(subject);
	exit(125);
}

static pid_t start(char **argv)
{
	pid_t child = fork();
	if (child < 0)
		die("fork");
	if (child)
		return child;
	if (ptrace(PTRACE_TRACEME, 0, 0, 0) < 0 || raise(SIGSTOP))
		die("trace");
	execv(argv[0], argv);
	die(argv[0]);
	return -1;
}

int main(int argc, char **argv)
{
	long execs = 0, processes = 1, threads = 0, rss = 0;
	int status, verdict = 125;
	struct rusage usage;
	if (argc < 3)
		return 2;
	pid_t first = start(argv + 2), pid;
	if (waitpid(first, &status, 0) < 0 || ptrace(PTRACE_SETOPTIONS, first, 0, OPTIONS) < 0)
		die("trace");
	ptrace(PTRACE_CONT, first, 0, 0);
	while ((pid = wait4(-1, &status, __WALL, &usage)) > 0) {
		if (!WIFSTOPPED(status)) {
			if (usage.ru_maxrss > rss)
				rss = usage.ru_maxrss;
			if (pid == first)
				verdict = WIFEXITED(status) ? WEXITSTATUS(status) : 124;
			continue;
		}
		int signal = WSTOPSIG(status), event = status >> 16;
		execs += event == PTRACE_EVENT_EXEC;
		processes += event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK;
		threads += event == PTRACE_EVENT_CLONE;
		/* A new tracee reports a stop of its own; neither is for the program. */
		if (event || signal == SIGSTOP || signal == SIGTRAP)
			signal = 0;
		ptrace(PTRACE_CONT, pid, 0, signal);
	}
	if (errno != ECHILD)
		die("wait");
	FILE *report = fopen(argv[1], "w");
	if (!report)
		die(argv[1]);
	fprintf(report, "execs %ld processes %ld threads %ld maxrss_kib %ld\n", execs, processes,
		threads, rss);
	return fclose(report) ? 125 : verdict;
}
