/* Cards in the list of devices: from "gpu" to the cards that are here. */
#include "daemon/config.h"

#include "base/log.h"
#include "hip/gpu/gpu.h"
#include "node/cards.h"

#include <string.h>

#define WAIT_NS (20 * SORA_TIME_SECOND)

static struct sora_agent_device *find_row(struct sora_config *config, const char *id)
{
    for (int i = 0; i < config->device_count; i++) {
        if (strcmp(config->device_rows[i].id, id) == 0)
            return &config->device_rows[i];
    }
    return NULL;
}

static bool names_cards(const struct sora_config *config)
{
    for (int i = 0; i < config->device_count; i++) {
        if (strncmp(config->device_rows[i].id, SORA_CONFIG_CARDS, strlen(SORA_CONFIG_CARDS)) == 0)
            return true;
    }
    return false;
}

static void drop_row(struct sora_config *config, struct sora_agent_device *row)
{
    int index = (int)(row - config->device_rows);
    config->device_count--;
    memmove(row, row + 1, (size_t)(config->device_count - index) * sizeof(*row));
}

/* Whether the row's card is here; notes its place then. */
static bool is_found(const struct sora_cards *cards, struct sora_agent_device *row)
{
    for (int i = 0; i < cards->count; i++) {
        if (strcmp(cards->items[i].id, row->id) != 0)
            continue;
        memcpy(row->card, cards->items[i].pci, sizeof(row->card));
        return true;
    }
    return false;
}

/* A card that was named and is not here would only fail again and again. */
static void drop_absent(struct sora_config *config, const struct sora_cards *cards)
{
    for (int i = config->device_count - 1; i >= 0; i--) {
        struct sora_agent_device *row = &config->device_rows[i];
        if (!sora_gpu_name_is(row->id) || is_found(cards, row))
            continue;
        sora_log(SORA_LOG_WARN, "a card is not here and left out device=%s cards=%d", row->id,
                 cards->count);
        drop_row(config, row);
    }
}

/* Takes "gpu" out and appends every card that has no row of its own, with the attributes of "gpu".
 */
static void put_all(struct sora_config *config, const struct sora_cards *cards)
{
    struct sora_agent_device *row = find_row(config, SORA_CONFIG_CARDS);
    if (!row)
        return;
    struct sora_agent_device like = *row;
    drop_row(config, row);
    for (int i = 0; i < cards->count; i++) {
        if (find_row(config, cards->items[i].id))
            continue;
        if (config->device_count == SORA_AGENT_DEVICES_MAX) {
            sora_log(SORA_LOG_WARN, "not every card is offered devices_max=%d left_out=%s",
                     SORA_AGENT_DEVICES_MAX, cards->items[i].id);
            return;
        }
        memcpy(like.id, cards->items[i].id, sizeof(cards->items[i].id));
        memcpy(like.card, cards->items[i].pci, sizeof(like.card));
        config->device_rows[config->device_count++] = like;
    }
}

void sora_config_find_cards(struct sora_config *config)
{
    struct sora_cards cards;
    if (!(config->role_bits & SORA_ROLE_NODE) || !names_cards(config))
        return;
    sora_cards_find(config->worker_path, WAIT_NS, &cards);
    for (int i = 0; i < cards.count; i++) {
        const struct sora_card_found *card = &cards.items[i];
        sora_log(SORA_LOG_INFO, "card found device=%s name=\"%s\" memory_mb=%llu pci=%s", card->id,
                 card->name, (unsigned long long)(card->memory_total >> 20), card->pci);
    }
    if (cards.count == 0) {
        sora_log(SORA_LOG_INFO, "no card is used reason=\"%s\"", cards.absent);
        memcpy(config->cards_absent, cards.absent, sizeof(config->cards_absent));
    }
    drop_absent(config, &cards);
    put_all(config, &cards);
}
