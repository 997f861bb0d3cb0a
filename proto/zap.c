/* The ZAP handler (ZeroMQ RFC 27): one request, one look at the table, one answer. */
#include "proto/zap.h"

#include "base/clock.h"
#include "base/log.h"

#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#define ENDPOINT "inproc://zeromq.zap.01"
#define STOP_ENDPOINT "inproc://sora-zap-stop"
#define FRAME_BYTES_MAX 256

struct sora_zap {
    void *handler, *stop_here, *stop_there; /* REP and the two ends of a PAIR */
    pthread_t thread;
    bool started;
    atomic_bool alive;
    atomic_int expected;  /* refusals that our own test of the door brings */
    pthread_mutex_t lock; /* of what follows */
    size_t count;
    unsigned char keys[SORA_ZAP_KEYS_MAX][SORA_KEY_PUBLIC_SIZE];
};

/* Frames of a request, in order. */
enum { VERSION, REQUEST, DOMAIN, ADDRESS, IDENTITY, MECHANISM, CREDENTIALS, FRAME_COUNT };

struct request {
    unsigned char frames[FRAME_COUNT][FRAME_BYTES_MAX];
    size_t sizes[FRAME_COUNT];
    int count;
};

static bool frame_is(const struct request *request, int frame, const char *text)
{
    return request->sizes[frame] == strlen(text) &&
           memcmp(request->frames[frame], text, strlen(text)) == 0;
}

/* Looks at every key, so that the time taken says nothing. */
static bool key_is_admitted(struct sora_zap *zap, const unsigned char *key)
{
    int found = 0;
    pthread_mutex_lock(&zap->lock);
    for (size_t i = 0; i < zap->count; i++)
        found |= sodium_memcmp(zap->keys[i], key, SORA_KEY_PUBLIC_SIZE) == 0;
    pthread_mutex_unlock(&zap->lock);
    return found;
}

static bool decide(struct sora_zap *zap, const struct request *request)
{
    if (request->count != FRAME_COUNT || !frame_is(request, VERSION, "1.0") ||
        !frame_is(request, MECHANISM, "CURVE") ||
        request->sizes[CREDENTIALS] != SORA_KEY_PUBLIC_SIZE)
        return false;
    if (frame_is(request, DOMAIN, SORA_ZAP_GUESTS))
        return true;
    return frame_is(request, DOMAIN, SORA_ZAP_MEMBERS) &&
           key_is_admitted(zap, request->frames[CREDENTIALS]);
}

/* All frames of one request; further ones and bytes beyond the room only count. */
static bool receive(struct sora_zap *zap, struct request *request)
{
    int more = 1;
    for (request->count = 0; more; request->count++) {
        unsigned char spare[FRAME_BYTES_MAX];
        bool wanted = request->count < FRAME_COUNT;
        unsigned char *to = wanted ? request->frames[request->count] : spare;
        int size = zmq_recv(zap->handler, to, FRAME_BYTES_MAX, 0);
        size_t more_size = sizeof(more);
        if (size < 0 || zmq_getsockopt(zap->handler, ZMQ_RCVMORE, &more, &more_size) != 0)
            return false;
        if (wanted)
            request->sizes[request->count] = (size_t)size;
    }
    return true;
}

static bool answer(struct sora_zap *zap, const struct request *request, bool accepted)
{
    char user[SORA_ZAP_USER_SIZE] = "";
    const char *code = accepted ? "200" : "400", *text = accepted ? "" : "refused";
    size_t id_size = request->count > REQUEST ? request->sizes[REQUEST] : 0;
    if (accepted)
        sodium_bin2hex(user, sizeof(user), request->frames[CREDENTIALS], SORA_KEY_PUBLIC_SIZE);
    if (id_size > FRAME_BYTES_MAX)
        id_size = 0;
    return zmq_send(zap->handler, "1.0", 3, ZMQ_SNDMORE) >= 0 &&
           zmq_send(zap->handler, request->frames[REQUEST], id_size, ZMQ_SNDMORE) >= 0 &&
           zmq_send(zap->handler, code, 3, ZMQ_SNDMORE) >= 0 &&
           zmq_send(zap->handler, text, strlen(text), ZMQ_SNDMORE) >= 0 &&
           zmq_send(zap->handler, user, strlen(user), ZMQ_SNDMORE) >= 0 &&
           zmq_send(zap->handler, "", 0, 0) >= 0;
}

static void *run(void *argument)
{
    struct sora_zap *zap = argument;
    sora_time logged = 0;
    unsigned refused = 0;
    for (;;) {
        zmq_pollitem_t items[] = {{.socket = zap->stop_there, .events = ZMQ_POLLIN},
                                  {.socket = zap->handler, .events = ZMQ_POLLIN}};
        if (zmq_poll(items, 2, -1) < 0 && zmq_errno() == EINTR)
            continue;
        struct request request = {.count = 0};
        if (items[0].revents || !receive(zap, &request))
            break;
        bool accepted = decide(zap, &request);
        if (!answer(zap, &request, accepted))
            break;
        sora_time now = sora_clock_now();
        if (!accepted && atomic_load(&zap->expected) > 0)
            atomic_fetch_sub(&zap->expected, 1);
        else
            refused += !accepted;
        if (refused > 0 && now - logged > SORA_TIME_SECOND) {
            sora_log(SORA_LOG_WARN, "connections refused count=%u", refused);
            logged = now;
            refused = 0;
        }
    }
    atomic_store(&zap->alive, false);
    zmq_close(zap->handler);
    zmq_close(zap->stop_there);
    return NULL;
}

static void *open_socket(void *context, int type, bool bind, const char *endpoint)
{
    void *socket = zmq_socket(context, type);
    int none = 0;
    if (!socket)
        return NULL;
    zmq_setsockopt(socket, ZMQ_LINGER, &none, sizeof(none));
    if ((bind ? zmq_bind(socket, endpoint) : zmq_connect(socket, endpoint)) == 0)
        return socket;
    zmq_close(socket);
    return NULL;
}

int sora_zap_create(void *zmq_context, struct sora_zap **out_zap, struct sora_fault *fault)
{
    struct sora_zap *zap = calloc(1, sizeof(*zap));
    if (!zap)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for the ZAP handler");
    pthread_mutex_init(&zap->lock, NULL);
    zap->handler = open_socket(zmq_context, ZMQ_REP, true, ENDPOINT);
    zap->stop_here = open_socket(zmq_context, ZMQ_PAIR, true, STOP_ENDPOINT);
    zap->stop_there = open_socket(zmq_context, ZMQ_PAIR, false, STOP_ENDPOINT);
    atomic_store(&zap->alive, true);
    if (zap->handler && zap->stop_here && zap->stop_there &&
        pthread_create(&zap->thread, NULL, run, zap) == 0) {
        zap->started = true;
        *out_zap = zap;
        return SORA_OK;
    }
    int rc = sora_fault_set(fault, SORA_E_INTERNAL, "the ZAP handler does not start: %s",
                            zmq_strerror(zmq_errno()));
    if (zap->handler)
        zmq_close(zap->handler);
    if (zap->stop_there)
        zmq_close(zap->stop_there);
    sora_zap_destroy(&zap);
    return rc;
}

void sora_zap_stop(struct sora_zap *zap)
{
    if (!zap->started)
        return;
    zmq_send(zap->stop_here, "", 0, ZMQ_DONTWAIT);
    pthread_join(zap->thread, NULL);
    zap->started = false;
}

void sora_zap_destroy(struct sora_zap **zap)
{
    if (!*zap)
        return;
    sora_zap_stop(*zap);
    if ((*zap)->stop_here)
        zmq_close((*zap)->stop_here);
    pthread_mutex_destroy(&(*zap)->lock);
    free(*zap);
    *zap = NULL;
}

void sora_zap_expect_refusal(struct sora_zap *zap)
{
    atomic_fetch_add(&zap->expected, 1);
}

bool sora_zap_alive(const struct sora_zap *zap)
{
    return atomic_load(&zap->alive);
}

static size_t find(const struct sora_zap *zap, const unsigned char *curve)
{
    size_t i = 0;
    while (i < zap->count && sodium_memcmp(zap->keys[i], curve, SORA_KEY_PUBLIC_SIZE) != 0)
        i++;
    return i;
}

int sora_zap_admit(struct sora_zap *zap, const unsigned char curve[SORA_KEY_PUBLIC_SIZE])
{
    int rc = SORA_OK;
    pthread_mutex_lock(&zap->lock);
    if (find(zap, curve) == zap->count) {
        if (zap->count < SORA_ZAP_KEYS_MAX)
            memcpy(zap->keys[zap->count++], curve, SORA_KEY_PUBLIC_SIZE);
        else
            rc = SORA_E_FULL;
    }
    pthread_mutex_unlock(&zap->lock);
    return rc;
}

void sora_zap_dismiss(struct sora_zap *zap, const unsigned char curve[SORA_KEY_PUBLIC_SIZE])
{
    pthread_mutex_lock(&zap->lock);
    size_t i = find(zap, curve);
    if (i < zap->count)
        memcpy(zap->keys[i], zap->keys[--zap->count], SORA_KEY_PUBLIC_SIZE);
    pthread_mutex_unlock(&zap->lock);
}
