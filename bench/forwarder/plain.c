/* The peer of the benchmark: poll, read one packet, send one packet. DEVICE PORT, then SUBNET BITS HOST of each peer. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

struct peer { unsigned char net[16]; int bytes; struct sockaddr_in to; };
static struct peer peers[16];
static unsigned char buf[65536];

static void hop(unsigned char *p) {
  if (p[0] >> 4 == 6) { p[7]--; return; }
  unsigned sum = (p[10] << 8 | p[11]) + 0x100;
  sum = (sum & 0xffff) + (sum >> 16);
  p[8]--; p[10] = sum >> 8; p[11] = sum;
}

int main(int argc, char **argv) {
  int port = atoi(argv[2]), n = 0, size = 4 << 20;
  for (int i = 3; i + 2 < argc; i += 3, n++) {
    inet_pton(strchr(argv[i], ':') ? AF_INET6 : AF_INET, argv[i], peers[n].net);
    peers[n].bytes = atoi(argv[i + 1]) / 8;
    peers[n].to.sin_family = AF_INET;
    peers[n].to.sin_port = htons(port);
    inet_pton(AF_INET, argv[i + 2], &peers[n].to.sin_addr);
  }
  int tun = open("/dev/net/tun", O_RDWR), udp = socket(AF_INET, SOCK_DGRAM, 0);
  struct ifreq ifr = {.ifr_flags = IFF_TUN | IFF_NO_PI};
  strncpy(ifr.ifr_name, argv[1], IFNAMSIZ - 1);
  if (ioctl(tun, TUNSETIFF, &ifr) < 0) return perror("device"), 1;
  setsockopt(udp, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
  setsockopt(udp, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
  struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(port)};
  if (bind(udp, (struct sockaddr *)&own, sizeof own) < 0) return perror("port"), 1;
  puts("ready"), fflush(stdout);
  struct pollfd fds[2] = {{tun, POLLIN, 0}, {udp, POLLIN, 0}};
  while (poll(fds, 2, -1) > 0) {
    if (fds[0].revents & POLLIN) {
      int len = read(tun, buf, sizeof buf), at = buf[0] >> 4 == 6 ? 24 : 16;
      for (int i = 0; len > 0 && i < n; i++)
        if (!memcmp(peers[i].net, buf + at, peers[i].bytes) && (peers[i].bytes > 4) == (at == 24)) {
          hop(buf);
          sendto(udp, buf, len, 0, (struct sockaddr *)&peers[i].to, sizeof peers[i].to);
          break;
        }
    }
    if (fds[1].revents & POLLIN) {
      int len = recv(udp, buf, sizeof buf, 0);
      if (len > 0) hop(buf), len = write(tun, buf, len);
    }
  }
  return 0;
}
