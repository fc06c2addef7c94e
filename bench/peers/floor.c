/*
 * The floor: epoll, and for each message a loop of send() to its room. Nothing else.
 *
 * No queues, no copies (a message is unmasked where it was received, and its new head written before it), no
 * answer to anything but a handshake, a message, a ping and a close. What is left is the kernel's part of a
 * fan-out; no server that sends a message by itself to each client can be below it.
 *
 * Sends block, for SEND_SECONDS at most: one client that does not read holds up all others, and is then dropped.
 * A fragmented message closes the connection with 1003, one of more than BUFFER bytes with 1009.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 1 << 20, EVENTS = 256, BACKLOG = 4096, HEAD = 16384, SEND_SECONDS = 5 };
enum { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10, FIN = 0x80, MASKED = 0x80 };

struct room {
    char *name;
    int *members;
    int count, space;
    struct room *next;
};

struct client {
    struct room *room; /* NULL until the handshake */
    int place;         /* among the room's members */
    unsigned char *rest; /* of a frame begun */
    size_t kept;
    bool open, doomed;
};

static struct client *clients; /* by descriptor */
static int most;
static struct room *rooms;
static int poller;
static unsigned char buffer[BUFFER + HEAD];

static void *checked(void *memory) {
    if (!memory) {
        perror("memory");
        exit(1);
    }
    return memory;
}

/* --- the handshake ------------------------------------------------------------------------------------- */

static uint32_t rotated(uint32_t word, int by) { return word << by | word >> (32 - by); }

/* SHA-1 (RFC 3174) of at most 119 bytes. */
static void sha1(const unsigned char *data, size_t length, unsigned char digest[20]) {
    uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0}, w[80];
    unsigned char padded[128] = {0};
    size_t blocks = (length + 8) / 64 + 1;
    memcpy(padded, data, length);
    padded[length] = 0x80;
    padded[blocks * 64 - 2] = (unsigned char)(length * 8 >> 8);
    padded[blocks * 64 - 1] = (unsigned char)(length * 8);
    for (size_t block = 0; block < blocks; block++) {
        for (int at = 0; at < 16; at++) {
            uint32_t word;
            memcpy(&word, padded + block * 64 + at * 4, 4);
            w[at] = ntohl(word);
        }
        for (int at = 16; at < 80; at++)
            w[at] = rotated(w[at - 3] ^ w[at - 8] ^ w[at - 14] ^ w[at - 16], 1);
        uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
        for (int at = 0; at < 80; at++) {
            uint32_t f = at < 20   ? ((b & c) | (~b & d)) + 0x5A827999
                         : at < 40 ? (b ^ c ^ d) + 0x6ED9EBA1
                         : at < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8F1BBCDC
                                   : (b ^ c ^ d) + 0xCA62C1D6;
            uint32_t next = rotated(a, 5) + f + e + w[at];
            e = d, d = c, c = rotated(b, 30), b = a, a = next;
        }
        h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
    }
    for (int at = 0; at < 5; at++) {
        uint32_t word = htonl(h[at]);
        memcpy(digest + at * 4, &word, 4);
    }
}

static void base64(const unsigned char *data, size_t length, char *text) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t at = 0; at < length; at += 3) {
        uint32_t three = (uint32_t)data[at] << 16;
        if (at + 1 < length) three |= (uint32_t)data[at + 1] << 8;
        if (at + 2 < length) three |= data[at + 2];
        *text++ = letters[three >> 18];
        *text++ = letters[three >> 12 & 63];
        *text++ = at + 1 < length ? letters[three >> 6 & 63] : '=';
        *text++ = at + 2 < length ? letters[three & 63] : '=';
    }
    *text = 0;
}

static struct room *room_named(const char *name) {
    for (struct room *room = rooms; room; room = room->next)
        if (!strcmp(room->name, name)) return room;
    struct room *room = checked(calloc(1, sizeof *room));
    room->name = checked(strdup(name));
    room->next = rooms;
    return rooms = room;
}

static void join(int fd, const char *name) {
    struct room *room = room_named(name);
    if (room->count == room->space) {
        room->space = room->space ? 2 * room->space : 16;
        room->members = checked(realloc(room->members, (size_t)room->space * sizeof *room->members));
    }
    clients[fd].room = room;
    clients[fd].place = room->count;
    room->members[room->count++] = fd;
}

static void send_all(int fd, const unsigned char *data, size_t length) {
    while (length) {
        ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EINTR) continue;
            clients[fd].doomed = true; /* closed by its own event: the room's list must not change in the loop */
            shutdown(fd, SHUT_RDWR);
            return;
        }
        data += sent, length -= (size_t)sent;
    }
}

/* Returns the bytes of the request, 0 while it is not whole, -1 when it is none. */
static ssize_t greet(int fd, unsigned char *data, size_t length) {
    unsigned char *end = memmem(data, length, "\r\n\r\n", 4);
    if (!end) return length < HEAD ? 0 : -1;
    *end = 0;
    char key[128] = "", path[1024];
    if (sscanf((char *)data, "GET %1023s HTTP/1.1", path) != 1) return -1;
    const char *line = strcasestr((char *)data, "\r\nSec-WebSocket-Key:");
    if (!line || sscanf(line + 20, " %60s", key) != 1) return -1;
    strcat(key, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"); /* RFC 6455 section 1.3 */
    unsigned char digest[20];
    char accepted[32], answer[256];
    sha1((unsigned char *)key, strlen(key), digest);
    base64(digest, sizeof digest, accepted);
    int written = snprintf(answer, sizeof answer,
                           "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                           "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                           accepted);
    send_all(fd, (unsigned char *)answer, (size_t)written);
    join(fd, path);
    return end + 4 - data;
}

/* --- frames -------------------------------------------------------------------------------------------- */

static void unmask(unsigned char *payload, size_t length, const unsigned char key[4]) {
    uint64_t eight, word;
    memcpy(&eight, key, 4);
    memcpy((unsigned char *)&eight + 4, key, 4);
    size_t at = 0;
    for (; at + 8 <= length; at += 8) {
        memcpy(&word, payload + at, 8);
        word ^= eight;
        memcpy(payload + at, &word, 8);
    }
    for (; at < length; at++) payload[at] ^= key[at & 3];
}

static void refuse(int fd, unsigned code) {
    unsigned char frame[4] = {FIN | CLOSE, 2, (unsigned char)(code >> 8), (unsigned char)code};
    send_all(fd, frame, sizeof frame);
    clients[fd].doomed = true;
}

/* Returns the bytes of the first frame, after doing what it asks for; 0 while it is not whole. */
static size_t take_frame(int fd, unsigned char *data, size_t length) {
    if (length < 6) return 0;
    size_t head = 2, size = data[1] & 0x7F;
    if (size == 126) {
        if (length < 8) return 0;
        size = (size_t)data[2] << 8 | data[3], head = 4;
    } else if (size == 127) {
        if (length < 14) return 0;
        size = 0, head = 10;
        for (int at = 2; at < 10; at++) size = size << 8 | data[at];
    }
    if (size > BUFFER - 14) {
        refuse(fd, 1009);
        return length;
    }
    if (length < head + 4 + size) return 0;
    if (!(data[0] & FIN) || !(data[0] & 0x0F) || !(data[1] & MASKED)) {
        refuse(fd, 1003);
        return length;
    }
    unsigned opcode = data[0] & 0x0F;
    unsigned char *payload = data + head + 4;
    unmask(payload, size, data + head);
    /* Without the key a server's head is 4 bytes shorter: it fits where the client's ended. */
    memmove(data + 4, data, head);
    unsigned char *frame = data + 4;
    frame[1] &= 0x7F;
    if (opcode == TEXT || opcode == BINARY) {
        struct room *room = clients[fd].room;
        for (int at = 0; at < room->count; at++) send_all(room->members[at], frame, head + size);
    } else if (opcode == PING) {
        frame[0] = FIN | PONG;
        send_all(fd, frame, head + size);
    } else if (opcode == CLOSE) {
        send_all(fd, frame, head + size);
        clients[fd].doomed = true;
    }
    return head + 4 + size;
}

/* --- connections --------------------------------------------------------------------------------------- */

static void forget(int fd) {
    struct client *client = &clients[fd];
    struct room *room = client->room;
    if (room) {
        int last = room->members[--room->count];
        room->members[client->place] = last;
        clients[last].place = client->place;
    }
    free(client->rest);
    memset(client, 0, sizeof *client);
    close(fd); /* takes it out of epoll too */
}

static void admit(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) return;
    if (fd >= most) {
        close(fd);
        return;
    }
    int on = 1;
    struct timeval patience = {.tv_sec = SEND_SECONDS};
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    clients[fd].open = true;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
}

static void serve(int fd) {
    struct client *client = &clients[fd];
    if (!client->open) return; /* closed by an earlier event of the same turn */
    size_t length = client->kept;
    if (length) memcpy(buffer, client->rest, length);
    ssize_t received = recv(fd, buffer + length, sizeof buffer - length, MSG_DONTWAIT);
    if (received <= 0) {
        if (received < 0 && (errno == EAGAIN || errno == EINTR)) return;
        forget(fd);
        return;
    }
    length += (size_t)received;
    size_t at = 0;
    if (!client->room) {
        ssize_t used = greet(fd, buffer, length);
        if (used < 0) {
            forget(fd);
            return;
        }
        at = (size_t)used;
    }
    while (client->room && !client->doomed) {
        size_t used = take_frame(fd, buffer + at, length - at);
        if (!used) break;
        at += used;
    }
    if (client->doomed) {
        forget(fd);
        return;
    }
    client->kept = length - at;
    if (client->kept) {
        client->rest = checked(realloc(client->rest, client->kept));
        memcpy(client->rest, buffer + at, client->kept);
    }
}

int main(void) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    most = files.rlim_cur > 1 << 20 ? 1 << 20 : (int)files.rlim_cur;
    clients = checked(calloc((size_t)most, sizeof *clients));

    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) || listen(listener, BACKLOG) ||
        getsockname(listener, (struct sockaddr *)&address, &size)) {
        perror("listen");
        return 1;
    }
    poller = epoll_create1(EPOLL_CLOEXEC);
    int watched[] = {listener, STDIN_FILENO};
    for (int at = 0; at < 2; at++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = watched[at]};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, watched[at], &event)) {
            perror("epoll");
            return 1;
        }
    }
    printf("{\"ready\": true, \"port\": %d}\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(poller, events, EVENTS, -1);
        for (int at = 0; at < count; at++) {
            int fd = events[at].data.fd;
            if (fd == listener) {
                admit(listener);
            } else if (fd == STDIN_FILENO) {
                char asked[4096];
                ssize_t got = read(STDIN_FILENO, asked, sizeof asked);
                if (got <= 0) return 0;
                for (ssize_t byte = 0; byte < got; byte++)
                    if (asked[byte] == '\n') puts("{\"done\": true}");
                fflush(stdout);
            } else {
                serve(fd);
            }
        }
    }
}
