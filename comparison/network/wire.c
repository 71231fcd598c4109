/* A wire between two hosts: delays, limits and loses IP packets between two network namespaces of one machine.
 *
 *     wire SHARED NAME HOST_A HOST_B CONGESTION_CONTROL
 *
 * Host A is the namespace it is started in, host B one that it makes and keeps alive as long as it runs. Each gets a TUN
 * interface NAME with the IPv4 address given (in one /24). SHARED is a file mapped by both sides: settings are read
 * from it with every packet, counters are kept in it. One line on stdout says "ready", or one on stderr what is missing.
 * The end of stdin is the end of the wire; interfaces and namespace go with the process, however it ends.
 *
 * A packet leaves in the order in which it came: after what is before it at the direction's rate, and the delay.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MTU 1500
#define SLOTS 32768
#define LATE_BUCKETS 4096
#define SPIN_NS 60000
#define INTERFACE_QUEUE 10000
#define TAKEN_AT_ONCE 64

typedef struct { /* read by the wire, written by the lab; order and size are known to link.py */
    volatile int64_t delay_ns, jitter_ns, loss_ppb, bytes_per_s, queue_ns, seed;
    volatile int64_t packets, bytes, lost, overflowed;
    volatile int64_t late_us[LATE_BUCKETS]; /* how long after its time each packet left */
} Shared;

typedef struct { int64_t due; int32_t size; unsigned char data[MTU]; } Packet;

typedef struct {
    Shared *shared;
    Packet *ring;
    uint64_t first, last; /* packets that left and that came */
    int64_t free_at, last_due, seed;
    uint64_t random;
    int in, out;
} Direction;

static int64_t draw(Direction *way, int64_t below) { /* xorshift64*, Vigna 2016; begins anew when the seed changes */
    if (way->seed != way->shared->seed) way->random = (uint64_t)(way->seed = way->shared->seed) | 1ULL << 63;
    way->random ^= way->random >> 12;
    way->random ^= way->random << 25;
    way->random ^= way->random >> 27;
    return (int64_t)((way->random * 0x2545F4914F6CDD1DULL >> 1) % (uint64_t)below);
}

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void write_setting(const char *path, const char *value) {
    int fd = open(path, O_WRONLY);
    if (fd < 0) return;
    ssize_t done = write(fd, value, strlen(value)); /* what the kernel took is read back by the lab */
    (void)done;
    close(fd);
}

static void set_flags(int probe, struct ifreq *request) {
    if (ioctl(probe, SIOCGIFFLAGS, request) < 0) fail("an interface cannot be read");
    request->ifr_flags |= IFF_UP | IFF_RUNNING;
    if (ioctl(probe, SIOCSIFFLAGS, request) < 0) fail("an interface cannot be brought up");
}

static void set_address(int probe, struct ifreq *request, unsigned long what, const char *text) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    if (inet_pton(AF_INET, text, &address.sin_addr) != 1) { errno = EINVAL; fail(text); }
    memcpy(&request->ifr_addr, &address, sizeof address);
    if (ioctl(probe, what, request) < 0) fail("an address cannot be set");
}

static int open_host(const char *name, const char *address, const char *congestion_control) {
    char path[128];
    struct ifreq request = {0}, loopback = {0};
    int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (tun < 0) fail("/dev/net/tun cannot be opened");
    snprintf(request.ifr_name, IFNAMSIZ, "%s", name);
    request.ifr_flags = IFF_TUN | IFF_NO_PI;
    if (ioctl(tun, TUNSETIFF, &request) < 0) fail("no TUN interface can be made");
    int probe = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (probe < 0) fail("no socket");
    snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
    write_setting(path, "1");
    write_setting("/proc/sys/net/ipv4/tcp_congestion_control", congestion_control);
    set_address(probe, &request, SIOCSIFADDR, address);
    set_address(probe, &request, SIOCSIFNETMASK, "255.255.255.0");
    request.ifr_mtu = MTU;
    if (ioctl(probe, SIOCSIFMTU, &request) < 0) fail("the MTU cannot be set");
    request.ifr_qlen = INTERFACE_QUEUE;
    if (ioctl(probe, SIOCSIFTXQLEN, &request) < 0) fail("the interface's queue cannot be set");
    set_flags(probe, &request);
    snprintf(loopback.ifr_name, IFNAMSIZ, "lo");
    set_flags(probe, &loopback);
    close(probe);
    return tun;
}

static void take(Direction *way, int64_t now) {
    for (int taken = 0; taken < TAKEN_AT_ONCE; taken++) {
        Packet *packet = &way->ring[way->last % SLOTS];
        unsigned char lost[MTU];
        int full = way->last - way->first == SLOTS;
        ssize_t size = read(way->in, full ? lost : packet->data, MTU);
        if (size <= 0) return;
        Shared *shared = way->shared;
        shared->packets++;
        shared->bytes += size;
        if (shared->loss_ppb && draw(way, 1000000000LL) < shared->loss_ppb) { shared->lost++; continue; }
        int64_t free_at = way->free_at > now ? way->free_at : now;
        if (full || free_at - now > shared->queue_ns) { shared->overflowed++; continue; }
        if (shared->bytes_per_s) free_at += size * 1000000000LL / shared->bytes_per_s;
        way->free_at = free_at;
        int64_t due = free_at + shared->delay_ns;
        if (shared->jitter_ns) due += draw(way, 2 * shared->jitter_ns + 1) - shared->jitter_ns;
        if (due < way->last_due) due = way->last_due;
        packet->due = way->last_due = due;
        packet->size = (int32_t)size;
        way->last++;
    }
}

static int64_t deliver(Direction *way, int64_t now) { /* gives the time of the next packet */
    while (way->first != way->last) {
        Packet *packet = &way->ring[way->first % SLOTS];
        if (packet->due > now) return packet->due;
        ssize_t done = write(way->out, packet->data, packet->size);
        (void)done; /* an interface that is down takes nothing, as a host that is down */
        int64_t late = (now_ns() - packet->due) / 1000;
        way->shared->late_us[late < LATE_BUCKETS ? late : LATE_BUCKETS - 1]++;
        way->first++;
    }
    return INT64_MAX;
}

static void carry(Direction *out, Direction *back) {
    struct pollfd ready[3] = {{.fd = out->in, .events = POLLIN}, {.fd = back->in, .events = POLLIN},
                              {.fd = STDIN_FILENO, .events = POLLIN}};
    for (;;) {
        int64_t one = deliver(out, now_ns()), other = deliver(back, now_ns());
        int64_t next = one < other ? one : other, wait = next == INT64_MAX ? 1000000000LL : next - now_ns() - SPIN_NS;
        if (wait < 0) wait = 0;
        struct timespec timeout = {wait / 1000000000LL, wait % 1000000000LL};
        if (ppoll(ready, 3, &timeout, NULL) < 0 && errno != EINTR) fail("poll");
        if (ready[0].revents) take(out, now_ns());
        if (ready[1].revents) take(back, now_ns());
        if (ready[2].revents) return;
    }
}

static void ask_for_priority(void) { /* a wire does not wait for a CPU; where that is refused, lateness shows it */
    struct sched_param first = {.sched_priority = 1};
    if (sched_setscheduler(0, SCHED_FIFO, &first) < 0) setpriority(PRIO_PROCESS, 0, -20);
    prctl(PR_SET_TIMERSLACK, 1);
}

static Packet *ring(void) {
    void *memory = mmap(NULL, sizeof(Packet) * SLOTS, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) fail("no memory");
    return memory;
}

int main(int count, char **given) {
    if (count != 6) { fprintf(stderr, "usage: wire SHARED NAME HOST_A HOST_B CONGESTION_CONTROL\n"); return 2; }
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    int file = open(given[1], O_RDWR | O_CLOEXEC);
    if (file < 0) fail(given[1]);
    Shared *shared = mmap(NULL, 2 * sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (shared == MAP_FAILED) fail(given[1]);
    int a = open_host(given[2], given[3], given[5]);
    if (unshare(CLONE_NEWNET) < 0) fail("no network namespace can be made");
    int b = open_host(given[2], given[4], given[5]);
    Direction out = {.shared = shared, .random = 1, .ring = ring(), .in = a, .out = b};
    Direction back = {.shared = shared + 1, .random = 1, .ring = ring(), .in = b, .out = a};
    ask_for_priority();
    printf("ready\n");
    fflush(stdout);
    carry(&out, &back);
    return 0;
}
