/*
 * uWebSockets itself, from C: its publish and subscribe, with no interpreter anywhere.
 *
 * The library is the one that socketify ships, by the C interface that it is called through there; the
 * declarations below are the part of that interface that is needed here.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct uws_app uws_app;
typedef struct uws_request uws_request;
typedef struct uws_response uws_response;
typedef struct uws_context uws_context;
typedef struct uws_websocket uws_websocket;
typedef struct us_listen_socket us_listen_socket;
typedef struct socketify_loop socketify_loop;

struct us_socket_context_options_t {
    const char *texts[6];
    int ssl_prefer_low_memory_usage;
};

typedef struct {
    int port;
    const char *host;
    int options;
} listen_config;

typedef struct {
    int compression;
    unsigned max_payload_length;
    unsigned short idle_timeout;
    unsigned max_backpressure;
    bool close_on_backpressure_limit, reset_idle_timeout_on_send, send_pings_automatically;
    unsigned short max_lifetime;
    void (*upgrade)(uws_response *, uws_request *, uws_context *, void *);
    void (*open)(uws_websocket *, void *);
    void (*message)(uws_websocket *, const char *, size_t, int, void *);
    void (*drain)(uws_websocket *, void *);
    void (*ping)(uws_websocket *, const char *, size_t, void *);
    void (*pong)(uws_websocket *, const char *, size_t, void *);
    void (*close)(uws_websocket *, int, const char *, size_t, void *);
    void (*subscription)(uws_websocket *, const char *, size_t, int, int, void *);
} behaviour;

socketify_loop *socketify_create_loop(void);
void *socketify_get_native_loop(socketify_loop *);
int socketify_loop_run(socketify_loop *, int mode);
void *uws_get_loop_with_native(void *);
uws_app *uws_create_app(int ssl, struct us_socket_context_options_t);
bool uws_constructor_failed(int ssl, uws_app *);
void uws_ws(int ssl, uws_app *, const char *pattern, behaviour, void *);
void uws_app_listen_with_config(int ssl, uws_app *, listen_config,
                                void (*)(us_listen_socket *, listen_config, void *), void *);
int us_socket_local_port(int ssl, us_listen_socket *);
size_t uws_req_get_url(uws_request *, const char **);
size_t uws_req_get_header(uws_request *, const char *, size_t, const char **);
void uws_res_upgrade(int ssl, uws_response *, void *data, const char *key, size_t, const char *protocol, size_t,
                     const char *extensions, size_t, uws_context *);
void *uws_ws_get_user_data(int ssl, uws_websocket *);
bool uws_ws_subscribe(int ssl, uws_websocket *, const char *topic, size_t);
bool uws_publish(int ssl, uws_app *, const char *topic, size_t, const char *message, size_t, int opcode, bool);

enum { PLAIN = 0, NO_LIMIT = 0, MAX_MESSAGE_BYTES = 16 << 20, RUN_UNTIL_DONE = 0 };

static const char KEY[] = "sec-websocket-key";

static uws_app *app;

/* A connection's user data is the name of its room. */

static void upgrade(uws_response *response, uws_request *request, uws_context *context, void *unused) {
    (void)unused;
    const char *path, *key;
    size_t length = uws_req_get_url(request, &path);
    size_t key_length = uws_req_get_header(request, KEY, sizeof KEY - 1, &key);
    char *room = strndup(path, length);
    if (!room) abort();
    uws_res_upgrade(PLAIN, response, room, key, key_length, "", 0, "", 0, context);
}

static void enter(uws_websocket *websocket, void *unused) {
    (void)unused;
    const char *room = uws_ws_get_user_data(PLAIN, websocket);
    uws_ws_subscribe(PLAIN, websocket, room, strlen(room));
}

static void say(uws_websocket *websocket, const char *message, size_t length, int opcode, void *unused) {
    (void)unused;
    const char *room = uws_ws_get_user_data(PLAIN, websocket);
    uws_publish(PLAIN, app, room, strlen(room), message, length, opcode, false);
}

static void left(uws_websocket *websocket, int code, const char *reason, size_t length, void *unused) {
    (void)code, (void)reason, (void)length, (void)unused;
    free(uws_ws_get_user_data(PLAIN, websocket));
}

static void listening(us_listen_socket *listener, listen_config config, void *unused) {
    (void)config, (void)unused;
    if (!listener) {
        fputs("cannot listen\n", stderr);
        exit(1);
    }
    printf("{\"ready\": true, \"port\": %d}\n", us_socket_local_port(PLAIN, listener));
    fflush(stdout);
}

/* In a thread of its own: the loop has no use for it. There is no garbage to collect. */
static void *answer_lines(void *unused) {
    (void)unused;
    for (int byte; (byte = getchar()) != EOF;) {
        if (byte != '\n') continue;
        puts("{\"done\": true}");
        fflush(stdout);
    }
    _exit(0);
}

int main(void) {
    socketify_loop *loop = socketify_create_loop();
    uws_get_loop_with_native(socketify_get_native_loop(loop));
    app = uws_create_app(PLAIN, (struct us_socket_context_options_t){0});
    if (!app || uws_constructor_failed(PLAIN, app)) {
        fputs("no application\n", stderr);
        return 1;
    }
    /* With a limit of what may wait for a client, messages beyond it would be dropped. */
    behaviour rooms = {
        .max_payload_length = MAX_MESSAGE_BYTES,
        .idle_timeout = NO_LIMIT,
        .max_backpressure = NO_LIMIT,
        .upgrade = upgrade,
        .open = enter,
        .message = say,
        .close = left,
    };
    uws_ws(PLAIN, app, "/*", rooms, NULL);
    uws_app_listen_with_config(PLAIN, app, (listen_config){.host = "127.0.0.1"}, listening, NULL);
    pthread_t thread;
    if (pthread_create(&thread, NULL, answer_lines, NULL)) return 1;
    return socketify_loop_run(loop, RUN_UNTIL_DONE);
}
