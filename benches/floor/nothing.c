/* The floor of starting a process: a static program that only reads its input. */
#include <unistd.h>

int main(void)
{
	char buffer[4096];
	while (read(0, buffer, sizeof buffer) > 0)
		;
	return 0;
}
