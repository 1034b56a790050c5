/* A pod's TCP server: `traffic MEGABYTES SOURCE SINK` sends so much to whoever connects to the port
 * SOURCE, and says with one byte when so much has come in at the port SINK. One connection at a time. */
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static char block[1 << 18];

static void end(int signal)
{
	_exit(signal == SIGTERM ? 0 : 1);
}

static int listener(const char *port)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

	at.sin_port = htons(atoi(port));
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
	    bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 16))
		_exit(2);
	return fd;
}

/* Waits until the other side has closed, lest a reset takes what is on its way. */
static void farewell(int fd)
{
	shutdown(fd, SHUT_WR);
	while (read(fd, block, sizeof block) > 0)
		;
	close(fd);
}

static void pour(int fd, long left)
{
	while (left > 0) {
		long size = left < (long)sizeof block ? left : (long)sizeof block;
		long done = write(fd, block, size);
		if (done < 0)
			break;
		left -= done;
	}
	farewell(fd);
}

static void drain(int fd, long left)
{
	while (left > 0) {
		long done = read(fd, block, sizeof block);
		if (done <= 0)
			break;
		left -= done;
	}
	if (left <= 0 && write(fd, "!", 1) != 1)
		left = 1;
	farewell(fd);
}

int main(int argc, char **argv)
{
	struct pollfd from[2];
	long bytes;

	if (argc != 4)
		return 2;
	signal(SIGTERM, end);
	signal(SIGPIPE, SIG_IGN);
	bytes = atol(argv[1]) * (1L << 20);
	for (int i = 0; i < 2; i++)
		from[i] = (struct pollfd){ .fd = listener(argv[2 + i]), .events = POLLIN };
	for (;;) {
		if (poll(from, 2, -1) < 0)
			return 3;
		for (int i = 0; i < 2; i++) {
			int fd = from[i].revents ? accept(from[i].fd, NULL, NULL) : -1;
			if (fd >= 0 && i == 0)
				pour(fd, bytes);
			else if (fd >= 0)
				drain(fd, bytes);
		}
	}
}
