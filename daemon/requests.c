/* Questions about this daemon and the farm as it sees it: nodes, its log. */
#include "base/log.h"
#include "daemon/daemon_parts.h"
#include "daemon/log_ring.h"
#include "proto/validate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLY_BYTES ((size_t)240 << 10) /* of the 256 KiB that a reply may have */

void request_answer(struct sora_daemon *daemon, const struct sora_late *late,
                    Farm__Message *message, int rc)
{
    struct sora_fault fault = {0};
    const struct sora_origin origin = {.peer = late->peer, .id = late->id};
    if (rc == SORA_OK)
        rc = daemon->post.reply(daemon, &origin, message, NULL, 0, &fault);
    if (rc == SORA_OK || rc == SORA_E_NOT_FOUND)
        return;
    sora_fault_set(&fault, rc, "%s", sora_error_text(rc));
    sora_post_refuse(&daemon->post, &origin, &fault);
}

/* ---- adverts ---- */

void request_advert(struct sora_daemon *daemon, const struct sora_origin *origin,
                    const Farm__Advert *advert)
{
    struct sora_member *member = sora_members_find(&daemon->members, origin->identity->node);
    struct sora_message *kept = NULL;
    struct sora_bytes bytes;
    if (!member)
        return; /* our own is asked for when it is wanted */
    /* Reports are the home's business. */
    Farm__Advert plain = *advert;
    plain.n_reports = 0;
    plain.reports = NULL;
    size_t size = farm__advert__get_packed_size(&plain);
    sora_bytes_init(&bytes, SORA_MESSAGE_BYTES_MAX);
    if (sora_bytes_reserve(&bytes, size + 1) == SORA_OK) {
        farm__advert__pack(&plain, bytes.data);
        if (sora_message_decode_as(&farm__advert__descriptor, bytes.data, size, false, &kept,
                                   NULL) == SORA_OK) {
            sora_message_destroy(&member->presence.advert);
            member->presence.advert = kept;
        }
    }
    sora_bytes_fini(&bytes);
}

const Farm__Advert *request_advert_of(const struct sora_member *member)
{
    const struct sora_message *kept = member->presence.advert;
    return kept ? (const Farm__Advert *)kept->any : NULL;
}

/* ---- nodes ---- */

static void fill_node(const struct sora_identity *identity, const Farm__Advert *advert,
                      size_t *bytes, Farm__NodeStatus *out)
{
    *out = (Farm__NodeStatus)FARM__NODE_STATUS__INIT;
    out->node = (ProtobufCBinaryData){SORA_NODE_ID_SIZE, (uint8_t *)(uintptr_t)identity->node};
    out->name = (char *)(uintptr_t)identity->name;
    out->studio = (char *)(uintptr_t)identity->studio;
    *bytes += 256;
    size_t size = advert ? farm__advert__get_packed_size(advert) : 0;
    /* What does not fit is left out: the node is still listed. */
    if (advert && *bytes + size <= REPLY_BYTES) {
        out->advert = (Farm__Advert *)(uintptr_t)advert;
        *bytes += size;
    }
}

static int list_nodes(struct sora_daemon *daemon, const struct sora_late *late, sora_time now)
{
    size_t count = (size_t)daemon->members.count + 1, used = 0, bytes = 0;
    Farm__NodeStatus *rows = calloc(count, sizeof(*rows));
    Farm__NodeStatus **list = calloc(count, sizeof(Farm__NodeStatus *));
    Farm__Message message = FARM__MESSAGE__INIT;
    Farm__NodesReply reply = FARM__NODES_REPLY__INIT;
    int rc = rows && list ? SORA_OK : SORA_E_MEMORY;
    if (rc == SORA_OK) {
        fill_node(&daemon->self.identity, parts_advert(daemon->parts), &bytes, &rows[used]);
        rows[used++].self = true;
    }
    for (int i = 0; i < daemon->members.count && rc == SORA_OK; i++) {
        const struct sora_member *member = &daemon->members.rows[i];
        if (member->out || !(member->identity.roles & ~(uint32_t)SORA_ROLE_USER))
            continue;
        bool up = member->presence.up_count > 0;
        fill_node(&member->identity, up ? request_advert_of(member) : NULL, &bytes, &rows[used]);
        rows[used++].silent_ms = sora_presence_silent_ms(&member->presence, now);
    }
    for (size_t i = 0; i < used; i++)
        list[i] = &rows[i];
    reply.n_nodes = used;
    reply.nodes = list;
    message.body_case = FARM__MESSAGE__BODY_NODES_REPLY;
    message.nodes_reply = &reply;
    request_answer(daemon, late, &message, rc);
    free(rows);
    free(list);
    return rc;
}

/* ---- logs ---- */

static int list_logs(struct sora_daemon *daemon, const struct sora_late *late, uint32_t lines_max)
{
    char(*lines)[SORA_LOG_LINE_SIZE] = calloc(SORA_LOG_RING_LINES, sizeof(*lines));
    char **list = calloc(SORA_LOG_RING_LINES, sizeof(char *));
    Farm__Message message = FARM__MESSAGE__INIT;
    Farm__LogsReply reply = FARM__LOGS_REPLY__INIT;
    int rc = lines && list ? SORA_OK : SORA_E_MEMORY;
    if (rc == SORA_OK) {
        size_t max = lines_max && lines_max < SORA_LOG_RING_LINES ? lines_max : SORA_LOG_RING_LINES;
        reply.n_lines = sora_log_ring_read(lines, max);
        reply.lines = list;
        for (size_t i = 0; i < reply.n_lines; i++) {
            list[i] = lines[i];
            for (char *c = lines[i]; !sora_validate_text(lines[i], strlen(lines[i]), false); c++)
                *c = *c & 0x80 ? '?' : *c; /* a path may be no UTF-8 */
        }
    }
    message.body_case = FARM__MESSAGE__BODY_LOGS_REPLY;
    message.logs_reply = &reply;
    request_answer(daemon, late, &message, rc);
    free(lines);
    free(list);
    return rc;
}

void request_message(struct sora_daemon *daemon, const struct sora_origin *origin,
                     const Farm__Message *message, sora_time now)
{
    const struct sora_late late = {origin->peer, origin->id};
    struct sora_fault fault = {0};
    int rc = SORA_OK;
    switch (message->body_case) {
    case FARM__MESSAGE__BODY_NODES:
        list_nodes(daemon, &late, now);
        break;
    case FARM__MESSAGE__BODY_MODELS:
        rc = request_models(daemon, origin, message->models, &fault);
        break;
    case FARM__MESSAGE__BODY_LOGS:
        list_logs(daemon, &late, message->logs->lines_max);
        break;
    case FARM__MESSAGE__BODY_DOCTOR:
        doctor_start(daemon, origin);
        break;
    default:
        rc = SORA_E_INTERNAL;
        break;
    }
    if (rc) {
        sora_fault_set(&fault, rc, "%s", sora_error_text(rc));
        sora_post_refuse(&daemon->post, origin, &fault);
    }
}
