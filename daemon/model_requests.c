/* Models of the farm, and adding and removing folders of this machine. */
#include "base/log.h"
#include "daemon/daemon_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODELS_MAX 64

static ProtobufCBinaryData bytes_of(const void *data, size_t size)
{
    return (ProtobufCBinaryData){size, (uint8_t *)(uintptr_t)data};
}

/* ---- the list ---- */

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
    for (int i = 0; i < sora_model_store_count(store); i++) {
        struct sora_model_entry entry;
        sora_model_store_at(store, i, &entry);
        add_holder(list, entry.digest.bytes, entry.name, entry.size, daemon->post.self, entry.path);
    }
    for (int i = 0; i < daemon->members.count; i++) {
        const struct sora_member *member = &daemon->members.rows[i];
        const Farm__Advert *advert =
            member->presence.up_count > 0 ? request_advert_of(member) : NULL;
        for (size_t k = 0; advert && k < advert->n_models; k++)
            add_holder(list, advert->models[k]->digest.data, advert->models[k]->name,
                       advert->models[k]->size, member->identity.node, NULL);
    }
    message.body_case = FARM__MESSAGE__BODY_MODELS_REPLY;
    message.models_reply = &list->reply;
    request_answer(daemon, late, &message, SORA_OK);
    free(list);
    return SORA_OK;
}

/* ---- adding ---- */

/* A change of the list of added folders, for someone who waits: the folder is digested, then the
 * list is written, then the answer goes out. */
struct model_wait {
    struct sora_daemon *daemon;
    struct sora_late late;
    char path[SORA_STATE_PATH_SIZE * 4];
};

static void list_kept(void *context, const struct sora_fault *fault)
{
    struct model_wait *wait = context;
    struct sora_fault kept = *fault;
    if (fault->code)
        sora_log(SORA_LOG_WARN, "added models are not remembered: %s", fault->text);
    /* The parts are gone when the daemon ends. */
    if (fault->code && wait->daemon->parts)
        post_refuse_late(wait->daemon, &wait->late, &kept);
    else if (wait->daemon->parts)
        list_models(wait->daemon, &wait->late);
    free(wait);
}

/* Takes `wait`; the answer comes when the list is on disk. */
static void keep_list(struct model_wait *wait)
{
    struct sora_daemon *daemon = wait->daemon;
    struct sora_fault fault = {0};
    struct sora_keep *keep = sora_keep_create(&daemon->state, list_kept, wait);
    int rc = keep ? sora_added_models_keep(&daemon->added, keep) : SORA_E_MEMORY;
    if (rc == SORA_OK)
        rc = sora_keep_post(&keep, daemon->disk);
    sora_keep_destroy(&keep);
    if (rc == SORA_OK)
        return;
    sora_fault_set(&fault, rc, "the list of models cannot be kept: %s", sora_error_text(rc));
    list_kept(wait, &fault);
}

static void model_added(void *context, const struct sora_model_entry *entry,
                        const struct sora_fault *fault)
{
    struct model_wait *wait = context;
    struct sora_fault full = *fault;
    int rc = entry ? sora_added_models_put(&wait->daemon->added, wait->path) : SORA_E_INVALID;
    if (rc == SORA_OK) {
        keep_list(wait);
        return;
    }
    sora_fault_set(&full, rc, "%d folders are remembered; that is the limit", MODELS_MAX);
    post_refuse_late(wait->daemon, &wait->late, &full);
    free(wait);
}

static struct model_wait *make_wait(struct sora_daemon *daemon, const struct sora_late *late,
                                    const char *path)
{
    struct model_wait *wait = calloc(1, sizeof(*wait));
    if (!wait)
        return NULL;
    wait->daemon = daemon;
    wait->late = *late;
    snprintf(wait->path, sizeof(wait->path), "%s", path);
    return wait;
}

static int add_model(struct sora_daemon *daemon, const struct sora_late *late, const char *path,
                     struct sora_fault *fault)
{
    if (path[0] != '/')
        return sora_fault_set(fault, SORA_E_INVALID, "'%.200s' is not a path from the root", path);
    struct model_wait *wait = make_wait(daemon, late, path);
    if (!wait)
        return SORA_E_MEMORY;
    int rc = sora_model_store_add(parts_models(daemon->parts), path, model_added, wait);
    if (rc) {
        free(wait);
        sora_fault_set(fault, rc, "too many models are being read; try again");
    }
    return rc;
}

/* ---- removing ---- */

/* The folder of what `wanted` names: a path of the list, or the model of that name or digest. */
static int find_folder(struct sora_daemon *daemon, const char *wanted, const char **out_path,
                       struct sora_fault *fault)
{
    const struct sora_model_store *store = parts_models(daemon->parts);
    struct sora_model_entry entry;
    int found = 0;
    *out_path = wanted;
    if (sora_added_models_has(&daemon->added, wanted))
        return SORA_OK;
    for (int i = 0; i < sora_model_store_count(store); i++) {
        char digest[SORA_DIGEST_TEXT_SIZE];
        sora_model_store_at(store, i, &entry);
        sora_digest_text(&entry.digest, digest);
        if (strcmp(entry.name, wanted) != 0 && strcmp(entry.path, wanted) != 0 &&
            (strlen(wanted) < 4 || strncmp(digest, wanted, strlen(wanted)) != 0))
            continue;
        *out_path = entry.path;
        found++;
    }
    if (found == 0)
        return sora_fault_set(fault, SORA_E_NOT_FOUND,
                              "no model here is '%.200s'; 'soractl models' lists what there is",
                              wanted);
    if (found > 1)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "%d models here are '%.100s'; name the folder or the digest", found,
                              wanted);
    return SORA_OK;
}

/* Only what was added can be removed: the rest is not ours to forget. */
static int check_added(const struct sora_daemon *daemon, const char *path, struct sora_fault *fault)
{
    if (sora_added_models_has(&daemon->added, path))
        return SORA_OK;
    for (int i = 0; i < daemon->config->model_count; i++) {
        if (strcmp(daemon->config->model_rows[i], path) == 0)
            return sora_fault_set(fault, SORA_E_DENIED,
                                  "%.300s is named in sorad's configuration (models); take it out "
                                  "there and start sorad again",
                                  path);
    }
    return sora_fault_set(fault, SORA_E_DENIED,
                          "%.300s was fetched from a member; remove that folder while sorad does "
                          "not run",
                          path);
}

static int remove_model(struct sora_daemon *daemon, const struct sora_late *late,
                        const char *wanted, struct sora_fault *fault)
{
    struct sora_model_store *store = parts_models(daemon->parts);
    const char *path;
    if (sora_model_store_reading(store))
        return sora_fault_set(fault, SORA_E_BUSY, "models are being read; try again");
    int rc = find_folder(daemon, wanted, &path, fault);
    if (rc == SORA_OK)
        rc = check_added(daemon, path, fault);
    if (rc)
        return rc;
    struct model_wait *wait = make_wait(daemon, late, path);
    if (!wait)
        return SORA_E_MEMORY;
    sora_added_models_drop(&daemon->added, wait->path);
    sora_model_store_remove(store, wait->path);
    keep_list(wait);
    return SORA_OK;
}

int request_models(struct sora_daemon *daemon, const struct sora_origin *origin,
                   const Farm__Models *models, struct sora_fault *fault)
{
    const struct sora_late late = {origin->peer, origin->id};
    if (!models->add_path[0] && !models->remove[0])
        return list_models(daemon, &late);
    if (memcmp(origin->identity->node, daemon->self.user.node, SORA_NODE_ID_SIZE) != 0)
        return sora_fault_set(fault, SORA_E_DENIED,
                              "models are added and removed by the user of the machine on which "
                              "they are");
    return models->add_path[0] ? add_model(daemon, &late, models->add_path, fault)
                               : remove_model(daemon, &late, models->remove, fault);
}
