/* Load and backend of `python -m tests.bench.proxy`: one thread, epoll, few system calls, so that neither is the limit.
 *
 *   proxy_load backend                                         prints its port; ends with its parent
 *   proxy_load jobs PORT CONNECTIONS SECONDS WARM FILL REQUEST one job at a time on each connection
 *   proxy_load ws   PORT CONNECTIONS SECONDS WARM 0 REQUEST    upgraded by REQUEST; then one message at a time on each
 *   proxy_load sse  PORT STREAMS SECONDS 0 0 REQUEST           opened one by one, then all held for SECONDS
 *
 * REQUEST is a file; FILL bytes of body follow it, and it has the Content-Length. SECONDS 0: one job per connection.
 * A load prints "ready" when it is connected and each connection had WARM jobs; begins at a line on stdin; prints its
 * figures as JSON; closes at the end of stdin. What is not as it should be ends it with a line on stderr.
 * The backend goes by the last segment of the path; bodies that are not looked at are dropped without a copy.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FDS = 65536, BATCH = 256, PATIENCE_S = 60, WS_ASK = 2 + 4 + 100, WS_SAY = 2 + 100 };
enum state { HEAD, BODY, RAW, STREAM };

struct conn {
    int fd, waits_to_write;
    unsigned serial; /* tells this connection from an earlier one with the same descriptor */
    enum state state;
    size_t have;       /* bytes in `in` */
    uint64_t left;     /* of the body that comes in */
    uint64_t length;   /* of that whole body */
    const char *head;  /* to be sent, */
    size_t head_left;
    uint64_t fill_left; /* and as many bytes of filler after it */
    uint64_t began, jobs;
    char in[8192], out[256];
};

static struct conn *conns[MAX_FDS];
static char filler[1 << 20], scratch[1 << 16];
static int poller;

static void die(const char *what, const char *detail) {
    fprintf(stderr, "proxy_load: %s: %.400s\n", what, detail);
    exit(1);
}

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void watch(struct conn *c, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = c->fd};
    if (epoll_ctl(poller, operation, c->fd, &event)) die("epoll_ctl", strerror(errno));
}

static struct conn *begin(int fd) {
    static unsigned serial;
    if (fd >= MAX_FDS) die("too many descriptors", "");
    struct conn *c = conns[fd] ? conns[fd] : (conns[fd] = malloc(sizeof *c));
    if (!c) die("malloc", strerror(errno));
    memset(c, 0, offsetof(struct conn, in));
    c->fd = fd;
    c->serial = ++serial;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    fcntl(fd, F_SETFL, O_NONBLOCK);
    watch(c, EPOLL_CTL_ADD, EPOLLIN);
    return c;
}

/* Send what is to be sent; the rest goes when there is room. Returns -1 if the peer is gone. */
static int push(struct conn *c) {
    while (c->head_left || c->fill_left) {
        size_t fill = c->fill_left < sizeof filler ? c->fill_left : sizeof filler;
        struct iovec parts[2] = {{(char *)c->head, c->head_left}, {filler, fill}};
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = fill ? 2 : 1};
        ssize_t n = sendmsg(c->fd, &message, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN) return -1;
            if (!c->waits_to_write) watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            c->waits_to_write = 1;
            return 0;
        }
        size_t of_head = (size_t)n < c->head_left ? (size_t)n : c->head_left;
        c->head += of_head;
        c->head_left -= of_head;
        c->fill_left -= (uint64_t)n - of_head;
    }
    if (c->waits_to_write) watch(c, EPOLL_CTL_MOD, EPOLLIN);
    c->waits_to_write = 0;
    return 0;
}

static int say(struct conn *c, const char *head, size_t size, uint64_t fill) {
    c->head = head;
    c->head_left = size;
    c->fill_left = fill;
    return push(c);
}

/* Read on. Returns 1 when a message (head and body) is complete, 0 when it is not yet, -1 when the peer is gone. */
static int hear(struct conn *c) {
    if (c->state == HEAD) {
        ssize_t n = recv(c->fd, c->in + c->have, sizeof c->in - 1 - c->have, 0);
        if (n <= 0) return n < 0 && errno == EAGAIN ? 0 : -1;
        c->in[c->have += (size_t)n] = 0;
        char *end = strstr(c->in, "\r\n\r\n");
        if (!end) {
            if (c->have == sizeof c->in - 1) die("a head that is too long", c->in);
            return 0;
        }
        const char *length = strcasestr(c->in, "\r\ncontent-length:");
        c->length = length && length < end ? strtoull(length + 17, NULL, 10) : 0;
        uint64_t came = c->have - (size_t)(end + 4 - c->in);
        if (came > c->length && !strcasestr(c->in, "\r\ntransfer-encoding:")) die("bytes after a message", c->in);
        c->left = came < c->length ? c->length - came : 0;
        c->have = 0;
        c->state = BODY;
    }
    while (c->left) {
        ssize_t n = recv(c->fd, NULL, c->left < (1 << 20) ? c->left : (1 << 20), MSG_TRUNC);
        if (n <= 0) return n < 0 && errno == EAGAIN ? 0 : -1;
        c->left -= (uint64_t)n;
    }
    c->state = HEAD;
    return 1;
}

/* -- backend ------------------------------------------------------------------------------------------------------ */

#define EVENT "data: {\"event\": \"token\", \"text\": \"a small red house by the sea\", \"n\": 1}\n\n"
static const char SMALL[] = "HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: application/json\r\nContent-Length: 60\r\n\r\n"
                            "{\"images\": [{\"url\": \"/stream/a81cf0e2.png\", \"seed\": 12345}]}";
static const char HEALTHY[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"status\":\"ok\"}";
static const char NO_LENGTH[] = "HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\n\r\n";
static const char UPGRADED[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                               "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"; /* RFC 6455, 1.3 */
static const char STREAMS[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
                              "Transfer-Encoding: chunked\r\n\r\n";
static char event_chunk[256], first_chunk[512], ws_say[WS_SAY] = {(char)0x82, 100};

/* Streams in the order in which their next event is due: all have the same period. */
static struct { int fd; unsigned serial; uint64_t due; } queue[MAX_FDS];
static size_t queue_from, queue_to;

static void enqueue(struct conn *c) {
    queue[queue_to % MAX_FDS].fd = c->fd;
    queue[queue_to % MAX_FDS].serial = c->serial;
    queue[queue_to++ % MAX_FDS].due = now() + 1000000000u;
}

static int answer(struct conn *c) {
    char *path_end = strpbrk(strchr(c->in, ' ') + 1, " ?"), *name = path_end;
    while (name[-1] != '/' && name > c->in + 1) name--;
    const size_t size = (size_t)(path_end - name);
    #define IS(word) (size == sizeof word - 1 && !memcmp(name, word, size))
    if (strcasestr(c->in, "\r\ntransfer-encoding:")) return say(c, NO_LENGTH, sizeof NO_LENGTH - 1, 0);
    if (IS("health")) return say(c, HEALTHY, sizeof HEALTHY - 1, 0);
    if (IS("ws")) {
        c->state = RAW;
        return say(c, UPGRADED, sizeof UPGRADED - 1, 0);
    }
    if (IS("sse")) {
        c->state = STREAM;
        enqueue(c);
        return say(c, first_chunk, strlen(first_chunk), 0);
    }
    if (IS("frame") || IS("down")) { /* as much as came; or as much as the query says */
        uint64_t much = IS("down") ? strtoull(path_end + 1, NULL, 10) : c->length;
        int n = snprintf(c->out, sizeof c->out,
                         "HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: application/octet-stream\r\n"
                         "Content-Length: %llu\r\n\r\n", (unsigned long long)much);
        return say(c, c->out, (size_t)n, much);
    }
    return say(c, SMALL, sizeof SMALL - 1, 0);
}

static int serve(struct conn *c) {
    if (c->state == HEAD || c->state == BODY) {
        int done = hear(c);
        return done == 1 ? answer(c) : done;
    }
    ssize_t n = recv(c->fd, scratch, sizeof scratch, 0);
    if (n <= 0) return n < 0 && errno == EAGAIN ? 0 : -1;
    for (c->have += (size_t)n; c->state == RAW && c->have >= WS_ASK; c->have -= WS_ASK)
        if (say(c, ws_say, WS_SAY, 0)) return -1;
    return 0;
}

static void backend(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096)) die("bind", strerror(errno));
    getsockname(listener, (struct sockaddr *)&address, &size);
    begin(listener);
    snprintf(event_chunk, sizeof event_chunk, "%zx\r\n%s\r\n", sizeof EVENT - 1, EVENT);
    snprintf(first_chunk, sizeof first_chunk, "%s%s", STREAMS, event_chunk);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        struct epoll_event events[BATCH];
        int count = epoll_wait(poller, events, BATCH, queue_from < queue_to ? 2 : -1);
        for (int i = 0; i < count; i++) {
            struct conn *c = conns[events[i].data.fd];
            if (c->fd == listener) {
                for (int fd; (fd = accept(listener, NULL, NULL)) >= 0;) begin(fd);
            } else if ((events[i].events & EPOLLOUT && push(c)) || (events[i].events & ~EPOLLOUT && serve(c) < 0)) {
                c->serial = 0;
                close(c->fd);
            }
        }
        for (uint64_t t = now(); queue_from < queue_to && queue[queue_from % MAX_FDS].due <= t; queue_from++) {
            struct conn *c = conns[queue[queue_from % MAX_FDS].fd];
            if (c->serial != queue[queue_from % MAX_FDS].serial) continue;
            say(c, event_chunk, strlen(event_chunk), 0);
            enqueue(c);
        }
    }
}

/* -- load --------------------------------------------------------------------------------------------------------- */

static char request[65536], ws_ask[WS_ASK] = {(char)0x82, (char)0x80 | 100}; /* masked, with zero for a mask */
static size_t request_size;
static uint64_t *took, jobs, room, fill;
static int as_ws;

static struct conn *dial(int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to)) die("connect", strerror(errno));
    return begin(fd);
}

static void ask(struct conn *c) {
    c->began = now();
    if (c->state == RAW ? say(c, ws_ask, WS_ASK, 0) : say(c, request, request_size, fill))
        die("a connection lost while a request was sent", strerror(errno));
}

/* Whether the answer is complete. */
static int answered(struct conn *c) {
    if (c->state == RAW) {
        ssize_t n = recv(c->fd, scratch, WS_SAY - c->have, 0);
        if (n <= 0) die("a WebSocket ended", strerror(errno));
        if ((c->have += (size_t)n) < WS_SAY) return 0;
        c->have = 0;
        return 1;
    }
    int done = hear(c);
    if (done < 0) die("a connection lost before its answer was complete", c->state == BODY ? c->in : "(no head)");
    if (done && strncmp(c->in, as_ws ? "HTTP/1.1 101" : "HTTP/1.1 200", 12)) die("not the answer", c->in);
    if (done && !as_ws && strcasestr(c->in, "\r\ntransfer-encoding:")) die("an answer without its length", c->in);
    if (done && as_ws) c->state = RAW;
    return done;
}

static void note(uint64_t nanoseconds) {
    if (jobs == room && !(took = realloc(took, (room = room ? 2 * room : 1 << 16) * sizeof *took)))
        die("realloc", strerror(errno));
    took[jobs++] = nanoseconds;
}

/* Each connection has `each` jobs, and goes on until `end`. Returns when all are answered. */
static void work(struct conn **all, int count, uint64_t each, uint64_t end) {
    int busy = count;
    for (int i = 0; i < count; i++) {
        all[i]->jobs = 0;
        ask(all[i]);
    }
    while (busy) {
        struct epoll_event events[BATCH];
        int n = epoll_wait(poller, events, BATCH, -1);
        for (int i = 0; i < n; i++) {
            struct conn *c = conns[events[i].data.fd];
            if (events[i].events & EPOLLOUT && push(c)) die("a connection lost while a body was sent", strerror(errno));
            if (!(events[i].events & ~EPOLLOUT) || !answered(c)) continue;
            uint64_t t = now();
            note(t - c->began);
            if (++c->jobs < each || t < end) ask(c);
            else busy--;
        }
    }
}

/* Read one piece of a stream; returns how many events it has. */
static uint64_t events_of(struct conn *c) {
    ssize_t n = recv(c->fd, scratch, sizeof scratch, 0);
    if (n < 0 && errno == EAGAIN) return 0;
    if (n <= 0) die("a stream ended", strerror(errno));
    uint64_t found = 0;
    for (char *at = scratch; (at = memmem(at, (size_t)(scratch + n - at), "data:", 5)); at++) found++;
    if (c->jobs == 0 && (n < 12 || memcmp(scratch, "HTTP/1.1 200", 12))) die("no stream", scratch);
    c->jobs++;
    return found;
}

static void open_streams(int port, int count) {
    for (int i = 0; i < count; i++) {
        uint64_t began = now();
        struct conn *c = dial(port);
        ask(c);
        for (uint64_t got = 0; !got;) {
            struct epoll_event event;
            if (epoll_wait(poller, &event, 1, -1) != 1) continue;
            uint64_t found = events_of(conns[event.data.fd]);
            if (event.data.fd == c->fd) got = found;
        }
        note(now() - began);
    }
}

static uint64_t hold_streams(uint64_t end) {
    uint64_t found = 0;
    for (uint64_t t; (t = now()) < end;) {
        struct epoll_event events[BATCH];
        int n = epoll_wait(poller, events, BATCH, (int)((end - t) / 1000000u) + 1);
        for (int i = 0; i < n; i++) found += events_of(conns[events[i].data.fd]);
    }
    return found;
}

static int by_size(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void wait_for_line(void) {
    if (!fgets(scratch, sizeof scratch, stdin)) exit(0);
}

static void load(char **argv) {
    const int port = atoi(argv[2]), count = atoi(argv[3]), as_sse = !strcmp(argv[1], "sse");
    const double seconds = atof(argv[4]);
    const uint64_t warm = strtoull(argv[5], NULL, 10), length = (uint64_t)(seconds * 1e9);
    FILE *file = fopen(argv[7], "r");
    if (!file || !(request_size = fread(request, 1, sizeof request, file))) die("cannot read the request", argv[7]);
    fill = strtoull(argv[6], NULL, 10);
    as_ws = !strcmp(argv[1], "ws");
    alarm(PATIENCE_S + (unsigned)seconds);
    struct conn **all = calloc((size_t)count, sizeof *all);
    if (as_sse) open_streams(port, count);
    for (int i = 0; i < count && !as_sse; i++) all[i] = dial(port);
    if (as_ws) work(all, count, 1, 0);
    if (warm) work(all, count, warm, 0);
    if (!as_sse) jobs = 0;
    puts("ready");
    fflush(stdout);
    wait_for_line();
    uint64_t began = now(), events = 0;
    if (as_sse) events = hold_streams(began + length);
    else work(all, count, 1, began + length);
    double lasted = (double)(now() - began) / 1e9;
    qsort(took, jobs, sizeof *took, by_size);
    printf("{\"jobs\": %llu, \"events\": %llu, \"seconds\": %.6f, \"p50_us\": %.3f, \"p99_us\": %.3f}\n",
           (unsigned long long)jobs, (unsigned long long)events, lasted, (double)took[jobs / 2] / 1e3,
           (double)took[jobs * 99 / 100] / 1e3);
    fflush(stdout);
    wait_for_line();
}

int main(int argc, char **argv) {
    memset(filler, 'x', sizeof filler);
    poller = epoll_create1(0);
    if (argc == 2 && !strcmp(argv[1], "backend")) backend();
    if (argc != 8) die("wrong arguments; see the top of its source", "");
    load(argv);
    return 0;
}
