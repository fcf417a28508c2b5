// A load client: opens thousands of Socket.IO connections over websockets (or plain TCP ones),
// replies to pings, counts events and measures their latency.
//
//   load PORT ws|tcp
//
// Reads commands from stdin, one per line, and responds to each with a line of JSON:
//   open N         opens N more connections, 32 handshakes at a time; responds when all are connected
//   reset          resets the counters
//   stat           returns the counters
// An event is any frame that begins with 42; it contains "t":NANOSECONDS of the monotonic clock.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum state { CONNECTING, HANDSHAKE, OPENING, JOINING, READY, DEAD };
enum { AT_ONCE = 32, CHUNK = 1 << 18, BUCKETS = 1 << 20, BUCKET_NS = 20000 };

struct client {
    int fd;
    enum state state;
    uint8_t *rest; // an incomplete frame
    size_t rest_size;
};

static struct client *clients;
static int port, tcp, poller, count, wanted, pending, ready, dead;
static uint64_t events, bytes, pings, opened_at;
static uint32_t histogram[BUCKETS];
static uint8_t buffer[CHUNK * 2];

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void watch(struct client *c, uint32_t what, int operation) {
    struct epoll_event event = {.events = what, .data.u32 = (uint32_t)(c - clients)};
    if (epoll_ctl(poller, operation, c->fd, &event)) fail("epoll_ctl");
}

static void send_text(struct client *c, const char *text) { // masked with zeroes
    uint8_t frame[128] = {0x81, (uint8_t)(0x80 | strlen(text))};
    memcpy(frame + 6, text, strlen(text));
    send(c->fd, frame, 6 + strlen(text), MSG_NOSIGNAL);
}

static void start(void) {
    while (pending < AT_ONCE && count < wanted) {
        struct client *c = &clients[count++];
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (c->fd < 0) fail("socket");
        int one = 1;
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (connect(c->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS) fail("connect");
        c->state = CONNECTING;
        watch(c, EPOLLOUT, EPOLL_CTL_ADD);
        pending++;
    }
}

static void is_ready(struct client *c) {
    c->state = READY;
    pending--;
    if (++ready == wanted) {
        printf("{\"ready\": %d, \"seconds\": %.6f}\n", ready, (double)(now() - opened_at) / 1e9);
        fflush(stdout);
    }
    start();
}

static void lose(struct client *c, const char *why) {
    if (dead++ < 3) fprintf(stderr, "a connection in state %d ended: %s\n", c->state, why);
    if (c->state == READY) ready--;
    else pending--;
    c->state = DEAD;
    close(c->fd);
    start();
}

static void event(const uint8_t *at, size_t size) {
    events++;
    bytes += size;
    const uint8_t *t = memmem(at, size, "\"t\":", 4);
    if (!t) return;
    uint64_t sent = 0;
    for (t += 4; *t >= '0' && *t <= '9'; t++) sent = sent * 10 + (uint64_t)(*t - '0');
    uint64_t took = now() - sent, bucket = took / BUCKET_NS;
    histogram[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
}

static void message(struct client *c, int opcode, const uint8_t *at, size_t size) {
    if (opcode == 8) lose(c, "the server closed it");
    else if (c->state == OPENING) {
        c->state = JOINING;
        send_text(c, "40{\"regions\":[\"TX\"]}");
    } else if (c->state == JOINING && size > 1 && at[0] == '4' && at[1] == '0') is_ready(c);
    else if (size > 1 && at[0] == '4' && at[1] == '2') event(at, size);
    else if (size && at[0] == '2') {
        pings++;
        send_text(c, "3");
    }
}

static void take(struct client *c) {
    if (c->rest_size) memcpy(buffer, c->rest, c->rest_size);
    ssize_t got = recv(c->fd, buffer + c->rest_size, CHUNK, 0);
    if (got <= 0) {
        if (got < 0 && errno == EAGAIN) return;
        lose(c, got ? strerror(errno) : "end of file");
        return;
    }
    size_t size = c->rest_size + (size_t)got, at = 0;
    if (c->state == HANDSHAKE) {
        uint8_t *end = memmem(buffer, size, "\r\n\r\n", 4);
        if (end && memcmp(buffer, "HTTP/1.1 101", 12)) {
            lose(c, "the handshake was refused");
            return;
        }
        if (end) {
            at = (size_t)(end - buffer) + 4;
            c->state = OPENING;
        }
    }
    while (c->state > HANDSHAKE && c->state != DEAD && size - at >= 2) {
        const uint8_t *frame = buffer + at;
        size_t head = 2, length = frame[1] & 127;
        if (length >= 126) {
            size_t digits = length == 126 ? 2 : 8;
            head += digits;
            if (size - at < head) break;
            length = 0;
            for (size_t i = 0; i < digits; i++) length = length << 8 | frame[2 + i];
        }
        if (size - at < head + length) break;
        message(c, frame[0] & 15, frame + head, length);
        at += head + length;
    }
    c->rest_size = size - at;
    c->rest = realloc(c->rest, c->rest_size ? c->rest_size : 1);
    memcpy(c->rest, buffer + at, c->rest_size);
    if (c->state == DEAD) c->rest_size = 0;
}

static void connected(struct client *c) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        lose(c, strerror(error));
        return;
    }
    watch(c, EPOLLIN, EPOLL_CTL_MOD);
    if (tcp) {
        c->state = OPENING;
        is_ready(c);
        return;
    }
    char request[512];
    int length = snprintf(request, sizeof request,
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)\r\n"
        "Accept-Language: en\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", port);
    c->state = HANDSHAKE;
    send(c->fd, request, (size_t)length, MSG_NOSIGNAL);
}

static double quantile(double q) {
    uint64_t all = 0, seen = 0;
    for (int i = 0; i < BUCKETS; i++) all += histogram[i];
    for (int i = 0; i < BUCKETS; i++)
        if ((seen += histogram[i]) && (double)seen >= q * (double)all) return i * BUCKET_NS / 1e6;
    return 0;
}

static void command(void) {
    char line[128];
    ssize_t got = read(0, line, sizeof line - 1); // one command: the next follows the response
    if (got <= 0) exit(0);
    line[got] = 0;
    if (!strncmp(line, "open ", 5)) {
        int more = atoi(line + 5);
        clients = realloc(clients, sizeof *clients * (size_t)(wanted + more));
        memset(clients + wanted, 0, sizeof *clients * (size_t)more);
        wanted += more;
        opened_at = now();
        start();
    } else if (!strncmp(line, "reset", 5)) {
        events = bytes = pings = 0;
        memset(histogram, 0, sizeof histogram);
        puts("{}");
    } else {
        printf("{\"events\": %lu, \"bytes\": %lu, \"pings\": %lu, \"ready\": %d, \"dead\": %d, "
               "\"p50\": %.2f, \"p99\": %.2f, \"max\": %.2f}\n",
               events, bytes, pings, ready, dead, quantile(.5), quantile(.99), quantile(1));
    }
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    port = atoi(argv[1]);
    tcp = !strcmp(argv[2], "tcp");
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    poller = epoll_create1(0);
    struct epoll_event input = {.events = EPOLLIN, .data.u32 = UINT32_MAX};
    epoll_ctl(poller, EPOLL_CTL_ADD, 0, &input);
    for (;;) {
        struct epoll_event news[512];
        int number = epoll_wait(poller, news, 512, -1);
        for (int i = 0; i < number; i++) {
            if (news[i].data.u32 == UINT32_MAX) {
                command();
                continue;
            }
            struct client *c = &clients[news[i].data.u32];
            if (c->state == CONNECTING) connected(c);
            else if (c->state != DEAD) take(c);
        }
    }
}
