/* Makes one call in the way of an architecture and prints its result.
 *   probe x86_64|x32|x86 NUMBER [ARG] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
	long number, arg, result;

	if (argc < 3)
		return 2;
	number = strtol(argv[2], NULL, 0);
	arg = argc > 3 ? strtol(argv[3], NULL, 0) : 0;
	if (!strcmp(argv[1], "x86")) {
		int low;
		__asm__ volatile("int $0x80" : "=a"(low) : "a"((int)number), "b"(arg), "c"(0L), "d"(0L)
				 : "memory", "r8", "r9", "r10", "r11");
		result = low;
	} else {
		if (!strcmp(argv[1], "x32"))
			number |= 0x40000000;
		register long r10 __asm__("r10") = 0;
		__asm__ volatile("syscall" : "=a"(result), "+r"(r10)
				 : "a"(number), "D"(arg), "S"(0L), "d"(0L)
				 : "rcx", "r11", "memory");
	}
	printf("%ld\n", result);
	return 0;
}
