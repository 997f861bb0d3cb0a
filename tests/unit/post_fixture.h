/*
 * Three nodes in one process, each with tasks, a blob store and a transfer, and a post between them
 * that loses, refuses and lies. Time is virtual. Messages are encoded, decoded and checked as by a
 * link. For tests of one thread.
 */
#ifndef SORA_TESTS_UNIT_POST_FIXTURE_H
#define SORA_TESTS_UNIT_POST_FIXTURE_H

#include "proto/blob_transfer.h"
#include "tests/unit/scratch.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define ENDS 3
#define MAIL_MAX 256
#define STALL (10 * SORA_TIME_SECOND)

struct end {
    struct sora_tasks *tasks;
    struct sora_blob_store *store;
    struct sora_post post;
    struct sora_blob_transfer *transfer;
    bool down;
    uint64_t ids;
    int credit; /* chunks that it may send, or -1 */
};
static struct end ends[ENDS];
static sora_time now;

struct mail {
    int from, to;
    uint64_t id;
    unsigned char *bytes, *payload;
    size_t size, payload_size;
};
static struct mail mails[MAIL_MAX];
static int mail_count;

/* What the post did, and what it is to do. */
static uint64_t chunk_bytes, gets, refusals, full_count;
static bool lie; /* a byte of the next chunk is wrong */

static inline void post_mail(int from, int to, const Farm__Message *message, const void *payload,
                             size_t size)
{
    assert_true(mail_count < MAIL_MAX);
    struct mail *mail = &mails[mail_count++];
    *mail = (struct mail){.from = from, .to = to, .id = message->id, .payload_size = size};
    assert_int_equal(sora_message_size(message, &mail->size, NULL), SORA_OK);
    mail->bytes = malloc(mail->size + 1);
    sora_message_encode(message, mail->bytes);
    mail->payload = malloc(size + 1);
    if (size > 0)
        memcpy(mail->payload, payload, size);
}

static inline int carry(struct end *from, int to, Farm__Message *message, const void *payload,
                        size_t size, struct sora_fault *fault)
{
    if (from->down || ends[to].down)
        return sora_fault_set(fault, SORA_E_NOT_FOUND, "not connected");
    if (message->body_case == FARM__MESSAGE__BODY_BLOB_CHUNK) {
        if (from->credit == 0) {
            full_count++;
            return SORA_E_FULL;
        }
        from->credit -= from->credit > 0;
        chunk_bytes += size;
    }
    gets += message->body_case == FARM__MESSAGE__BODY_BLOB_GET;
    refusals += message->body_case == FARM__MESSAGE__BODY_REFUSAL;
    message->id = ++from->ids;
    post_mail((int)(from - ends), to, message, payload, size);
    if (lie && size > 0) {
        mails[mail_count - 1].payload[size / 2] ^= 1;
        lie = false;
    }
    return SORA_OK;
}

static inline int send_to(void *owner, const unsigned char node[SORA_NODE_ID_SIZE],
                          Farm__Message *message, const void *payload, size_t size,
                          struct sora_fault *fault)
{
    return carry(owner, node[0], message, payload, size, fault);
}

static inline int reply_to(void *owner, const struct sora_origin *origin, Farm__Message *message,
                           const void *payload, size_t size, struct sora_fault *fault)
{
    message->reply_to = origin->id;
    assert_int_equal(origin->peer, origin->identity->node[0] + 1);
    return carry(owner, origin->identity->node[0], message, payload, size, fault);
}

static inline const char *name_of(void *owner, const unsigned char node[SORA_NODE_ID_SIZE])
{
    (void)owner;
    static const char *const names[ENDS] = {"anna", "bert", "carl"};
    return names[node[0]];
}

/* Delivers what was sent until now, decoded and checked as by a link. */
static inline void deliver(void)
{
    struct mail batch[MAIL_MAX];
    int count = mail_count;
    memcpy(batch, mails, sizeof(batch));
    mail_count = 0;
    for (int i = 0; i < count; i++) {
        struct mail *mail = &batch[i];
        struct sora_message *message = NULL;
        struct sora_fault fault = {0};
        if (sora_message_decode(mail->bytes, mail->size, &message, &fault))
            fail_msg("%s", fault.text);
        struct sora_identity identity = {.roles = 1};
        identity.node[0] = (unsigned char)mail->from;
        struct sora_origin origin = {(sora_peer)mail->from + 1, mail->id, &identity};
        struct end *to = &ends[mail->to];
        if (to->transfer && !to->down)
            sora_blob_transfer_message(to->transfer, &origin, message->farm, mail->payload,
                                       mail->payload_size, now);
        sora_message_destroy(&message);
        free(mail->bytes);
        free(mail->payload);
    }
}

static inline void lose_all(void)
{
    for (int i = 0; i < mail_count; i++) {
        free(mails[i].bytes);
        free(mails[i].payload);
    }
    mail_count = 0;
}

static inline void finish_tasks(struct end *end)
{
    while (end->tasks && sora_tasks_pending(end->tasks) > 0) {
        struct pollfd item = {.fd = sora_tasks_fd(end->tasks), .events = POLLIN};
        assert_int_equal(poll(&item, 1, 20000), 1);
        sora_tasks_step(end->tasks);
    }
}

/* One turn of everybody's loop. */
static inline void turn(void)
{
    for (struct end *end = ends; end < ends + ENDS; end++) {
        finish_tasks(end);
        if (end->transfer)
            sora_blob_transfer_step(end->transfer, now);
    }
    deliver();
}

/* Time passes to the next deadline when nothing else is left to do. */
static inline void pass_time(void)
{
    sora_time next = INT64_MAX;
    for (struct end *end = ends; end < ends + ENDS; end++) {
        if (!end->transfer)
            continue;
        sora_time deadline = sora_blob_transfer_deadline(end->transfer);
        next = deadline < next ? deadline : next;
    }
    if (mail_count == 0 && next > now && next < INT64_MAX)
        now = next;
}

static inline void node_id(int index, unsigned char out[SORA_NODE_ID_SIZE])
{
    memset(out, 0, SORA_NODE_ID_SIZE);
    out[0] = (unsigned char)index;
}

static inline void start(int index)
{
    struct end *end = &ends[index];
    *end = (struct end){.credit = -1};
    char name[16];
    snprintf(name, sizeof(name), "end%d", index);
    assert_int_equal(sora_tasks_create(name, 64, &end->tasks, NULL), SORA_OK);
    struct sora_blob_store_params store = {scratch_path(name), 0, end->tasks};
    assert_int_equal(sora_blob_store_open(&store, &end->store, NULL), SORA_OK);
    end->post = (struct sora_post){end, {0}, send_to, reply_to, name_of};
    node_id(index, end->post.self);
    struct sora_blob_transfer_params params = {end->store, &end->post, STALL};
    assert_int_equal(sora_blob_transfer_create(&params, &end->transfer), SORA_OK);
}

static inline void stop(int index)
{
    struct end *end = &ends[index];
    sora_blob_transfer_destroy(&end->transfer);
    sora_blob_store_close(&end->store);
    sora_tasks_destroy(&end->tasks);
}

#endif
