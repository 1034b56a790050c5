/* What runs in a container: ends at once, or waits for ever if it was started as "pause". No libc, so
 * that a contestant's time is not spent in here. */
#include <asm/unistd.h>

static long call(long number, long a)
{
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a) : "rcx", "r11", "memory");
	return result;
}

__attribute__((used)) static void run(const long *stack)
{
	const char *name = (const char *)stack[1], *last = name;
	for (; *name; name++)
		if (*name == '/')
			last = name + 1;
	while (last[0] == 'p')
		call(__NR_pause, 0);
	call(__NR_exit_group, 0);
}

__asm__(".globl _start\n_start:\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall run\n\thlt");
