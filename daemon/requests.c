/* Questions about this daemon and the farm as it sees it: nodes, models, its log. */
#include "base/log.h"
#include "daemon/daemon_parts.h"
#include "daemon/log_ring.h"
#include "proto/validate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLY_BYTES ((size_t)240 << 10) /* of the 256 KiB that a reply may have */
#define MODELS_MAX 64

static ProtobufCBinaryData bytes_of(const void *data, size_t size)
{
    return (ProtobufCBinaryData){size, (uint8_t *)(uintptr_t)data};
}

static void answer(struct sora_daemon *daemon, const struct sora_late *late, Farm__Message *message,
                   int rc)
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

static const Farm__Advert *advert_of(const struct sora_member *member)
{
    const struct sora_message *kept = member->presence.advert;
    return kept ? (const Farm__Advert *)kept->any : NULL;
}

/* ---- nodes ---- */

static void fill_node(const struct sora_identity *identity, const Farm__Advert *advert,
                      size_t *bytes, Farm__NodeStatus *out)
{
    *out = (Farm__NodeStatus)FARM__NODE_STATUS__INIT;
    out->node = bytes_of(identity->node, SORA_NODE_ID_SIZE);
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
        fill_node(&member->identity, up ? advert_of(member) : NULL, &bytes, &rows[used]);
        rows[used++].silent_ms = sora_presence_silent_ms(&member->presence, now);
    }
    for (size_t i = 0; i < used; i++)
        list[i] = &rows[i];
    reply.n_nodes = used;
    reply.nodes = list;
    message.body_case = FARM__MESSAGE__BODY_NODES_REPLY;
    message.nodes_reply = &reply;
    answer(daemon, late, &message, rc);
    free(rows);
    free(list);
    return rc;
}

/* ---- models ---- */

/* The farm's models while a reply is made. */
struct model_list {
    Farm__ModelsReply reply;
    Farm__ModelPlace places[MODELS_MAX], *place_list[MODELS_MAX];
    Farm__Model models[MODELS_MAX];
    unsigned char digests[MODELS_MAX][SORA_DIGEST_SIZE];
    ProtobufCBinaryData nodes[MODELS_MAX][SORA_MEMBERS_MAX + 1];
};

static void add_holder(struct model_list *list, const unsigned char *digest, const char *name,
                       uint64_t size, const unsigned char *node, const char *path)
{
    size_t at = 0;
    while (at < list->reply.n_models && memcmp(list->digests[at], digest, SORA_DIGEST_SIZE) != 0)
        at++;
    if (at == MODELS_MAX)
        return;
    Farm__ModelPlace *place = &list->places[at];
    if (at == list->reply.n_models) {
        list->reply.n_models++;
        *place = (Farm__ModelPlace)FARM__MODEL_PLACE__INIT;
        list->models[at] = (Farm__Model)FARM__MODEL__INIT;
        memcpy(list->digests[at], digest, SORA_DIGEST_SIZE);
        list->models[at].digest = bytes_of(list->digests[at], SORA_DIGEST_SIZE);
        list->models[at].name = (char *)(uintptr_t)name;
        list->models[at].size = size;
        place->model = &list->models[at];
        place->nodes = list->nodes[at];
        list->place_list[at] = place;
    }
    if (path)
        place->path = (char *)(uintptr_t)path;
    if (place->n_nodes <= SORA_MEMBERS_MAX)
        place->nodes[place->n_nodes++] = bytes_of(node, SORA_NODE_ID_SIZE);
}

static int list_models(struct sora_daemon *daemon, const struct sora_late *late)
{
    struct sora_model_store *store = parts_models(daemon->parts);
    struct model_list *list = calloc(1, sizeof(*list));
    Farm__Message message = FARM__MESSAGE__INIT;
    if (!list)
        return SORA_E_MEMORY;
    list->reply = (Farm__ModelsReply)FARM__MODELS_REPLY__INIT;
    list->reply.models = list->place_list;
    for (int i = 0; store && i < sora_model_store_count(store); i++) {
        struct sora_model_entry entry;
        sora_model_store_at(store, i, &entry);
        add_holder(list, entry.digest.bytes, entry.name, entry.size, daemon->post.self, entry.path);
    }
    for (int i = 0; i < daemon->members.count; i++) {
        const struct sora_member *member = &daemon->members.rows[i];
        const Farm__Advert *advert = member->presence.up_count > 0 ? advert_of(member) : NULL;
        for (size_t k = 0; advert && k < advert->n_models; k++)
            add_holder(list, advert->models[k]->digest.data, advert->models[k]->name,
                       advert->models[k]->size, member->identity.node, NULL);
    }
    message.body_case = FARM__MESSAGE__BODY_MODELS_REPLY;
    message.models_reply = &list->reply;
    answer(daemon, late, &message, SORA_OK);
    free(list);
    return SORA_OK;
}

/* A folder is being digested for someone who waits. */
struct model_wait {
    struct sora_daemon *daemon;
    struct sora_late late;
};

static void model_added(void *context, const struct sora_model_entry *entry,
                        const struct sora_fault *fault)
{
    struct model_wait *wait = context;
    if (entry)
        list_models(wait->daemon, &wait->late);
    else
        post_refuse_late(wait->daemon, &wait->late, fault);
    free(wait);
}

static int add_model(struct sora_daemon *daemon, const struct sora_origin *origin,
                     const struct sora_late *late, const char *path, struct sora_fault *fault)
{
    struct sora_model_store *store = parts_models(daemon->parts);
    if (memcmp(origin->identity->node, daemon->self.user.node, SORA_NODE_ID_SIZE) != 0)
        return sora_fault_set(fault, SORA_E_DENIED,
                              "models are added by the user of the machine on which they are");
    if (!store || path[0] != '/')
        return sora_fault_set(fault, SORA_E_INVALID, "'%.200s' is not a path from the root", path);
    struct model_wait *wait = calloc(1, sizeof(*wait));
    if (!wait)
        return SORA_E_MEMORY;
    *wait = (struct model_wait){daemon, *late};
    int rc = sora_model_store_add(store, path, model_added, wait);
    if (rc) {
        free(wait);
        sora_fault_set(fault, rc, "too many models are being read; try again");
    }
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
    answer(daemon, late, &message, rc);
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
        rc = message->models->add_path[0]
                 ? add_model(daemon, origin, &late, message->models->add_path, &fault)
                 : list_models(daemon, &late);
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
