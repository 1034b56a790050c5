/* Writes so many megabytes to its output. */
#include <stdlib.h>
#include <unistd.h>

static char block[1 << 16];

int main(int argc, char **argv)
{
	long left = argc == 2 ? atol(argv[1]) * (1L << 20) : 0;
	while (left > 0) {
		long size = left < (long)sizeof block ? left : (long)sizeof block;
		long done = write(1, block, size);
		if (done < 0)
			return 1;
		left -= done;
	}
	return 0;
}
