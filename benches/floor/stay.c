/* What runs in the containers of a pod: waits, and ends when it is asked to. As the first process of
 * its namespace it must take the signal to be ended by it. */
#include <signal.h>
#include <unistd.h>

static void end(int signal)
{
	_exit(signal == SIGTERM ? 0 : 1);
}

int main(void)
{
	signal(SIGTERM, end);
	for (;;)
		pause();
}
