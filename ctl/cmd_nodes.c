/* nodes: who renders, with what. */
#include "ctl/client.h"
#include "ctl/commands.h"
#include "ctl/output.h"

static const char *const device_states[] = {"starting", "ready", "busy", "failed", "off"};

static const char *device_state(int state)
{
    return state >= 0 && state < 5 ? device_states[state] : "unknown";
}

static json_t *device_json(const Farm__Device *device)
{
    json_t *speeds = json_array();
    for (size_t i = 0; i < device->n_speeds; i++) {
        const Farm__Speed *speed = device->speeds[i];
        json_array_append_new(speeds, json_pack("{s:o,s:i,s:i,s:i,s:f,s:f}", "model",
                                                sora_output_hex_json(&speed->model), "width",
                                                (int)speed->width, "height", (int)speed->height,
                                                "window", (int)speed->window, "window_ms",
                                                speed->window_ms, "decode_ms", speed->decode_ms));
    }
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:I,s:I,s:i,s:s,s:s,s:o}", "id", device->id, "kind",
                     device->kind, "name", device->name, "arch", device->arch, "class",
                     device->device_class, "memory_total", (json_int_t)device->memory_total,
                     "memory_free", (json_int_t)device->memory_free, "threads",
                     (int)device->threads, "state", device_state((int)device->state), "text",
                     device->state_text, "speeds", speeds);
}

static json_t *node_json(const Farm__NodeStatus *node)
{
    json_t *devices = json_array(), *models = json_array();
    const Farm__Advert *advert = node->advert;
    char roles[SORA_TEXT_SIZE] = "";
    for (size_t i = 0; advert && i < advert->n_devices; i++)
        json_array_append_new(devices, device_json(advert->devices[i]));
    for (size_t i = 0; advert && i < advert->n_models; i++)
        json_array_append_new(models, json_string(advert->models[i]->name));
    if (advert)
        sora_output_roles(advert->roles, roles);
    return json_pack("{s:o,s:s,s:s,s:I,s:b,s:s,s:f,s:b,s:o,s:o}", "node",
                     sora_output_hex_json(&node->node), "name", node->name, "studio", node->studio,
                     "silent_ms", (json_int_t)node->silent_ms, "self", node->self, "roles", roles,
                     "load", advert ? advert->load : 0.0, "draining", advert && advert->draining,
                     "devices", devices, "models", models);
}

static void print_node(const Farm__NodeStatus *node)
{
    char roles[SORA_TEXT_SIZE] = "", total[SORA_TEXT_SIZE], spare[SORA_TEXT_SIZE];
    const Farm__Advert *advert = node->advert;
    if (advert)
        sora_output_roles(advert->roles, roles);
    printf("%s%s  %s  %s", node->name, node->self ? " (this one)" : "", node->studio, roles);
    if (node->silent_ms > 2000)
        printf("  silent for %llu s", (unsigned long long)(node->silent_ms / 1000));
    printf("%s\n", advert && advert->draining ? "  draining" : "");
    for (size_t i = 0; advert && i < advert->n_devices; i++) {
        const Farm__Device *device = advert->devices[i];
        printf("  %-8s %-8s %s, %s of %s free%s%s", device->id, device_state((int)device->state),
               device->name[0] ? device->name : device->kind,
               sora_output_bytes(device->memory_free, spare),
               sora_output_bytes(device->memory_total, total), device->state_text[0] ? "  " : "",
               device->state_text);
        if (device->n_speeds)
            printf("  %.0f ms a window", device->speeds[0]->window_ms);
        putchar('\n');
    }
}

int sora_ctl_nodes(struct sora_ctl_context *context)
{
    Farm__Nodes nodes = FARM__NODES__INIT;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_NODES;
    message.nodes = &nodes;
    struct sora_client *client = NULL;
    const Farm__Message *answer = NULL;
    int error = sora_client_open(context->options.state, &client, &context->fault);
    if (!error)
        error = sora_client_call(client, &message, FARM__MESSAGE__BODY_NODES_REPLY, 0, &answer,
                                 &context->fault);
    json_t *list = json_array();
    for (size_t i = 0; !error && i < answer->nodes_reply->n_nodes; i++) {
        if (context->options.json)
            json_array_append_new(list, node_json(answer->nodes_reply->nodes[i]));
        else
            print_node(answer->nodes_reply->nodes[i]);
    }
    if (!error && context->options.json)
        sora_output_json(list);
    else
        json_decref(list);
    sora_client_close(&client);
    return error;
}
