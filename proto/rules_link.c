/* Rules of the greeting, identity, membership and of the frame itself. */
#include "proto/message.h"
#include "proto/rules.h"

#include <string.h>

#define WALL_MS_MAX INT64_C(253402300799000) /* the year 9999 */

static const struct sora_rule hello_rows[] = {
    SORA_NUMBER("version_min", 1, 65535),  SORA_NUMBER("version_max", 1, 65535),
    SORA_NUMBER("version", 0, 65535),      SORA_TEXT("software", 1, 64),
    SORA_TEXT("node_name", 0, 63),         SORA_PERHAPS("certificate"),
    SORA_TEXTS("endpoints", 6, 256, 8),    SORA_NUMBER("boot", 0, UINT64_MAX),
    SORA_NUMBER("session", 0, UINT64_MAX), SORA_NUMBER("bulk_port", 0, 65535),
};

static const struct sora_rule refusal_rows[] = {
    SORA_NUMBER("code", -64, 0),
    SORA_TEXT("text", 0, 1024),
};

static const struct sora_rule credit_rows[] = {
    SORA_NUMBER("bytes_total", 0, UINT64_MAX),
};

static const struct sora_rule certificate_body_rows[] = {
    SORA_EXACT("root_public", 32),
    SORA_EXACT("sign_public", 32),
    SORA_EXACT("curve_public", 32),
    SORA_NUMBER("roles", 0, 7),
    SORA_NUMBER("wall_not_after_ms", 0, WALL_MS_MAX),
    SORA_EXACT("serial", 16),
    SORA_TEXT("name", 1, 63),
    SORA_TEXT("studio", 1, 63),
};

static const struct sora_rule certificate_rows[] = {
    SORA_BYTES("body", 1, 512),
    SORA_EXACT("signature", 64),
};

static const struct sora_rule revocation_body_rows[] = {
    SORA_EXACT("root_public", 32),
    SORA_NUMBER("sequence", 0, UINT64_MAX),
    SORA_NUMBER("wall_issued_ms", 0, WALL_MS_MAX),
    SORA_EXACTS("serials", 16, 1024),
};

static const struct sora_rule revocation_rows[] = {
    SORA_BYTES("body", 1, 20480),
    SORA_EXACT("signature", 64),
};

static const struct sora_rule envelope_rows[] = {
    SORA_BYTES("payload", 1, (200 << 10)),
    SORA_PART("certificate"),
    SORA_MAYBE("audience", SORA_NODE_ID_SIZE),
    SORA_NUMBER("wall_expires_ms", 0, WALL_MS_MAX),
    SORA_EXACT("nonce", 16),
    SORA_TEXT("domain", 1, 64),
    SORA_EXACT("signature", 64),
};

static const struct sora_rule join_request_rows[] = {
    SORA_NUMBER("version_min", 1, 65535),
    SORA_NUMBER("version_max", 1, 65535),
    SORA_EXACT("invite_id", 16),
    SORA_EXACT("sign_public", 32),
    SORA_EXACT("curve_public", 32),
    SORA_TEXT("name", 1, 63),
    SORA_EXACT("nonce", 32),
    SORA_EXACT("proof", 32),
};

static const struct sora_rule join_reply_rows[] = {
    SORA_PART("certificate"),           SORA_PARTS("members", 256), SORA_PARTS("revocations", 64),
    SORA_TEXTS("endpoints", 6, 256, 8), SORA_EXACT("proof", 32),
};

static const struct sora_rule members_rows[] = {
    SORA_PARTS("certificates", 256),
    SORA_PARTS("revocations", 64),
    SORA_PARTS("places", 256),
};

static const struct sora_rule member_place_rows[] = {
    SORA_EXACT("node", SORA_NODE_ID_SIZE),
    SORA_TEXTS("endpoints", 6, 256, 8),
};

static const struct sora_rule farm_init_rows[] = {
    SORA_TEXT("studio", 1, 63),
};

static const struct sora_rule farm_invite_rows[] = {
    SORA_TEXT("name", 0, 63),
    SORA_NUMBER("roles", 0, 7),
    SORA_NUMBER("uses", 1, 256),
    SORA_NUMBER("lifetime_s", 60, (30 * 86400)),
};

static const struct sora_rule farm_invite_reply_rows[] = {
    SORA_TEXT("code", 8, 1024),
    SORA_NUMBER("wall_expires_ms", 0, WALL_MS_MAX),
};

static const struct sora_rule farm_join_rows[] = {
    SORA_TEXT("code", 8, 1024),
};

static const struct sora_rule farm_member_rows[] = {
    SORA_EXACT("node", SORA_NODE_ID_SIZE),
    SORA_EXACT("root_public", 32),
    SORA_EXACT("serial", 16),
    SORA_TEXT("name", 0, 128),
    SORA_TEXT("studio", 0, 63),
    SORA_NUMBER("roles", 0, 7),
    SORA_NUMBER("wall_not_after_ms", 0, WALL_MS_MAX),
    SORA_FLAG("connected"),
    SORA_FLAG("revoked"),
    SORA_NUMBER("silent_ms", 0, UINT64_MAX),
};

static const struct sora_rule farm_members_reply_rows[] = {
    SORA_TEXT("studio", 0, 63),
    SORA_MAYBE("root_public", SORA_NODE_ID_SIZE),
    SORA_TEXT("words", 0, 128),
    SORA_PARTS("members", 256),
};

static const struct sora_rule farm_revoke_rows[] = {
    SORA_TEXT("name", 1, 64),
    SORA_TEXT("reason", 0, 512),
};

static const struct sora_rule message_rows[] = {
    SORA_NUMBER("id", 1, UINT64_MAX),
    SORA_NUMBER("reply_to", 0, UINT64_MAX),
    SORA_PART("hello"),
    SORA_PART("refusal"),
    SORA_PART("ack"),
    SORA_PART("ping"),
    SORA_PART("credit"),
    SORA_PART("join_request"),
    SORA_PART("join_reply"),
    SORA_PART("members"),
    SORA_PART("farm_init"),
    SORA_PART("farm_invite"),
    SORA_PART("farm_invite_reply"),
    SORA_PART("farm_join"),
    SORA_PART("farm_members"),
    SORA_PART("farm_members_reply"),
    SORA_PART("farm_revoke"),
    SORA_PART("advert"),
    SORA_PART("submit"),
    SORA_PART("submit_reply"),
    SORA_PART("plan"),
    SORA_PART("plan_reply"),
    SORA_PART("status"),
    SORA_PART("status_reply"),
    SORA_PART("list"),
    SORA_PART("list_reply"),
    SORA_PART("cancel"),
    SORA_PART("pause"),
    SORA_PART("resume"),
    SORA_PART("watch"),
    SORA_PART("event"),
    SORA_PART("fetch"),
    SORA_PART("fetch_reply"),
    SORA_PART("logs"),
    SORA_PART("logs_reply"),
    SORA_PART("nodes"),
    SORA_PART("nodes_reply"),
    SORA_PART("models"),
    SORA_PART("models_reply"),
    SORA_PART("doctor"),
    SORA_PART("doctor_reply"),
    SORA_PART("erase"),
    SORA_PART("lease_offer"),
    SORA_PART("lease_grant"),
    SORA_PART("lease_renew"),
    SORA_PART("lease_revoke"),
    SORA_PART("lease_return"),
    SORA_PART("shard_assign"),
    SORA_PART("shard_progress"),
    SORA_PART("halo"),
    SORA_PART("halo_at"),
    SORA_PART("checkpoint"),
    SORA_PART("checkpoint_stored"),
    SORA_PART("segment"),
    SORA_PART("segment_stored"),
    SORA_PART("text_encode"),
    SORA_PART("text_encoded"),
    SORA_PART("blob_get"),
    SORA_PART("blob_chunk"),
    SORA_PART("blob_have"),
    SORA_PART("blob_have_reply"),
};

static int check_hello(const ProtobufCMessage *message, struct sora_fault *fault)
{
    const Farm__Hello *hello = (const Farm__Hello *)message;
    if (hello->version_min > hello->version_max)
        return sora_fault_set(fault, SORA_E_FORMAT, "hello has version range %u..%u",
                              hello->version_min, hello->version_max);
    return SORA_OK;
}

static int check_join(const ProtobufCMessage *message, struct sora_fault *fault)
{
    const Farm__JoinRequest *join = (const Farm__JoinRequest *)message;
    if (join->version_min > join->version_max)
        return sora_fault_set(fault, SORA_E_FORMAT, "join request has version range %u..%u",
                              join->version_min, join->version_max);
    return SORA_OK;
}

const struct sora_rules sora_rules_link[] = {
    SORA_ROWS(farm__hello__descriptor, hello_rows, check_hello),
    SORA_ROWS(farm__refusal__descriptor, refusal_rows, NULL),
    {&farm__ack__descriptor, NULL, 0, NULL},
    {&farm__ping__descriptor, NULL, 0, NULL},
    SORA_ROWS(farm__credit__descriptor, credit_rows, NULL),
    SORA_ROWS(farm__certificate_body__descriptor, certificate_body_rows, NULL),
    SORA_ROWS(farm__certificate__descriptor, certificate_rows, NULL),
    SORA_ROWS(farm__revocation_body__descriptor, revocation_body_rows, NULL),
    SORA_ROWS(farm__revocation__descriptor, revocation_rows, NULL),
    SORA_ROWS(farm__envelope__descriptor, envelope_rows, NULL),
    SORA_ROWS(farm__join_request__descriptor, join_request_rows, check_join),
    SORA_ROWS(farm__join_reply__descriptor, join_reply_rows, NULL),
    SORA_ROWS(farm__members__descriptor, members_rows, NULL),
    SORA_ROWS(farm__member_place__descriptor, member_place_rows, NULL),
    SORA_ROWS(farm__farm_init__descriptor, farm_init_rows, NULL),
    SORA_ROWS(farm__farm_invite__descriptor, farm_invite_rows, NULL),
    SORA_ROWS(farm__farm_invite_reply__descriptor, farm_invite_reply_rows, NULL),
    SORA_ROWS(farm__farm_join__descriptor, farm_join_rows, NULL),
    {&farm__farm_members__descriptor, NULL, 0, NULL},
    SORA_ROWS(farm__farm_member__descriptor, farm_member_rows, NULL),
    SORA_ROWS(farm__farm_members_reply__descriptor, farm_members_reply_rows, NULL),
    SORA_ROWS(farm__farm_revoke__descriptor, farm_revoke_rows, NULL),
    SORA_ROWS(farm__message__descriptor, message_rows, NULL),
    {NULL, NULL, 0, NULL},
};

const struct sora_rules *sora_rules_find(const ProtobufCMessageDescriptor *type)
{
    const struct sora_rules *const tables[] = {sora_rules_link, sora_rules_work, sora_rules_job};
    for (int i = 0; i < 3; i++) {
        for (const struct sora_rules *rules = tables[i]; rules->type; rules++) {
            if (rules->type == type)
                return rules;
        }
    }
    return NULL;
}
