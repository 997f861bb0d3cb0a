/* models, models add, models remove, models where. */
#include "ctl/client.h"
#include "ctl/commands.h"
#include "ctl/output.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define ADD_SECONDS 3600.0 /* digesting a large model takes minutes */

/* Names by id, in hexadecimal; nodes that left since are missing. */
static int ask_names(struct sora_client *client, json_t *out_names, struct sora_fault *fault)
{
    Farm__Nodes nodes = FARM__NODES__INIT;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_NODES;
    message.nodes = &nodes;
    const Farm__Message *answer = NULL;
    int error =
        sora_client_call(client, &message, FARM__MESSAGE__BODY_NODES_REPLY, 0, &answer, fault);
    for (size_t i = 0; !error && i < answer->nodes_reply->n_nodes; i++) {
        char id[SORA_ID_TEXT_SIZE];
        const Farm__NodeStatus *node = answer->nodes_reply->nodes[i];
        json_object_set_new(out_names, sora_output_hex(&node->node, 32, id),
                            json_string(node->name));
    }
    return error;
}

static const char *name_of(const ProtobufCBinaryData *node, const json_t *names,
                           char room[SORA_ID_TEXT_SIZE])
{
    const char *name = json_string_value(json_object_get(names, sora_output_hex(node, 32, room)));
    return name ? name : room;
}

/* `names`: also where. */
static void print_place(const Farm__ModelPlace *place, const json_t *names)
{
    char size[SORA_TEXT_SIZE], digest[SORA_ID_TEXT_SIZE], node[SORA_ID_TEXT_SIZE];
    printf("%s  %s  %s  on %zu node%s%s%s\n", sora_output_hex(&place->model->digest, 6, digest),
           place->model->name, sora_output_bytes(place->model->size, size), place->n_nodes,
           place->n_nodes == 1 ? "" : "s", place->path[0] ? "  " : "", place->path);
    for (size_t i = 0; names && i < place->n_nodes; i++)
        printf("  %s\n", name_of(&place->nodes[i], names, node));
}

static json_t *place_json(const Farm__ModelPlace *place, const json_t *names)
{
    json_t *nodes = json_array(), *node_names = json_array();
    for (size_t i = 0; i < place->n_nodes; i++) {
        char node[SORA_ID_TEXT_SIZE];
        json_array_append_new(nodes, sora_output_hex_json(&place->nodes[i]));
        json_array_append_new(node_names, json_string(name_of(&place->nodes[i], names, node)));
    }
    return json_pack("{s:o,s:s,s:I,s:s,s:o,s:o}", "digest",
                     sora_output_hex_json(&place->model->digest), "name", place->model->name,
                     "size", (json_int_t)place->model->size, "path", place->path, "nodes", nodes,
                     "node_names", node_names);
}

/* Whether a model's name is `wanted` or its digest begins with it. */
static bool matches(const Farm__ModelPlace *place, const char *wanted)
{
    char digest[SORA_ID_TEXT_SIZE];
    sora_output_hex(&place->model->digest, 32, digest);
    return !wanted || strcmp(place->model->name, wanted) == 0 ||
           (strlen(wanted) >= 4 && strncmp(digest, wanted, strlen(wanted)) == 0);
}

/* What matches, printed. Returns how much that is. */
static int print_places(const Farm__ModelsReply *reply, const char *wanted, const json_t *names,
                        bool json)
{
    json_t *list = json_array();
    int found = 0;
    for (size_t i = 0; i < reply->n_models; i++) {
        const Farm__ModelPlace *place = reply->models[i];
        if (!matches(place, wanted))
            continue;
        found++;
        if (json)
            json_array_append_new(list, place_json(place, names));
        else
            print_place(place, wanted ? names : NULL);
    }
    if (json && (found || !wanted))
        sora_output_json(list);
    else
        json_decref(list);
    return found;
}

static int run(struct sora_ctl_context *context, char *add_path, char *remove, const char *wanted)
{
    Farm__Models models = FARM__MODELS__INIT;
    if (add_path)
        models.add_path = add_path;
    if (remove)
        models.remove = remove;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_MODELS;
    message.models = &models;
    struct sora_client *client = NULL;
    const Farm__Message *answer = NULL;
    json_t *names = json_object();
    int error = sora_client_open(context->options.state, &client, &context->fault);
    if (!error && (wanted || context->options.json))
        error = ask_names(client, names, &context->fault);
    if (!error)
        error = sora_client_call(client, &message, FARM__MESSAGE__BODY_MODELS_REPLY,
                                 add_path ? ADD_SECONDS : 0, &answer, &context->fault);
    if (!error && !print_places(answer->models_reply, wanted, names, context->options.json) &&
        wanted)
        error =
            sora_fault_set(&context->fault, SORA_E_NOT_FOUND,
                           "no node holds '%.100s'; 'soractl models' lists what there is", wanted);
    json_decref(names);
    sora_client_close(&client);
    return error;
}

int sora_ctl_models(struct sora_ctl_context *context)
{
    return run(context, NULL, NULL, NULL);
}

int sora_ctl_models_add(struct sora_ctl_context *context)
{
    char *path = realpath(context->arguments[0], NULL);
    if (!path)
        return sora_fault_set(&context->fault, SORA_E_NOT_FOUND,
                              "%.300s: no such folder on this machine", context->arguments[0]);
    int error = run(context, path, NULL, NULL);
    free(path);
    return error;
}

/* The folder may be gone; then it is named as it was added, or by what it held. */
int sora_ctl_models_remove(struct sora_ctl_context *context)
{
    bool is_path = strchr(context->arguments[0], '/') != NULL;
    char *path = is_path ? realpath(context->arguments[0], NULL) : NULL;
    int error = run(context, NULL, path ? path : context->arguments[0], NULL);
    free(path);
    return error;
}

int sora_ctl_models_where(struct sora_ctl_context *context)
{
    return run(context, NULL, NULL, context->arguments[0]);
}
