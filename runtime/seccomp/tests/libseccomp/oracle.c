/* Reads rules from stdin, writes the filter libseccomp makes of them to stdout.
 *   default ACTION | arch NAME | rule ACTION NAME [INDEX OP VALUE VALUE2]...
 *   number ARCH NAME  (answered with four bytes)
 * Rules refused by the library are named on stderr with its error. ACTION and values are hexadecimal.
 * "end" writes the filter, its length first, and starts anew. */
#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static scmp_filter_ctx context;

static void fail(const char *what, const char *name, int code)
{
	fprintf(stderr, "%s %s: %s\n", what, name, strerror(-code));
}

static void add_rule(char *line)
{
	char *rest, *name, *word;
	struct scmp_arg_cmp conditions[6];
	unsigned count = 0;
	uint32_t action = strtoul(strtok_r(line, " ", &rest), NULL, 16);

	name = strtok_r(NULL, " ", &rest);
	while (count < 6 && (word = strtok_r(NULL, " ", &rest))) {
		conditions[count].arg = strtoul(word, NULL, 10);
		conditions[count].op = strtoul(strtok_r(NULL, " ", &rest), NULL, 10);
		conditions[count].datum_a = strtoull(strtok_r(NULL, " ", &rest), NULL, 16);
		conditions[count].datum_b = strtoull(strtok_r(NULL, " ", &rest), NULL, 16);
		count++;
	}
	int number = seccomp_syscall_resolve_name(name);
	if (number == __NR_SCMP_ERROR) {
		fprintf(stderr, "unknown %s\n", name);
		return;
	}
	int code = seccomp_rule_add_array(context, action, number, count, conditions);
	if (code)
		fail("rule", name, code);
}

static void emit(void)
{
	static char buffer[1 << 20];
	int file = memfd_create("filter", 0);
	int code = seccomp_export_bpf(context, file);

	if (code)
		fail("export", "filter", code);
	uint32_t length = lseek(file, 0, SEEK_END);
	if (length > sizeof(buffer) || pread(file, buffer, length, 0) != (ssize_t)length)
		exit(1);
	fwrite(&length, sizeof(length), 1, stdout);
	fwrite(buffer, 1, length, stdout);
	fflush(stdout);
	close(file);
	seccomp_release(context);
	context = NULL;
}

int main(void)
{
	static char line[4096];

	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = 0;
		if (!strncmp(line, "default ", 8)) {
			context = seccomp_init(strtoul(line + 8, NULL, 16));
			if (!context)
				return 1;
		} else if (!strncmp(line, "arch ", 5)) {
			int code = seccomp_arch_add(context, seccomp_arch_resolve_name(line + 5));
			if (code && code != -EEXIST)
				fail("arch", line + 5, code);
		} else if (!strncmp(line, "number ", 7)) {
			char *rest, *arch = strtok_r(line + 7, " ", &rest);
			int32_t number = seccomp_syscall_resolve_name_arch(
				seccomp_arch_resolve_name(arch), strtok_r(NULL, " ", &rest));
			fwrite(&number, sizeof(number), 1, stdout);
			fflush(stdout);
		} else if (!strncmp(line, "rule ", 5)) {
			add_rule(line + 5);
		} else if (!strcmp(line, "end")) {
			emit();
		}
	}
	return 0;
}
