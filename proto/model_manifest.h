/*
 * Model manifests: between the wire's form (farm.proto, ModelManifest) and struct sora_model_facts.
 *
 * A manifest is a blob whose digest names the model. Pure but for memory; any thread.
 */
#ifndef SORA_PROTO_MODEL_MANIFEST_H
#define SORA_PROTO_MODEL_MANIFEST_H

#include "base/bytes.h"
#include "base/job_plan.h"
#include "proto/message.h"

#define SORA_MODEL_FILES_MAX 1024
#define SORA_MODEL_MANIFEST_BYTES_MAX SORA_MESSAGE_BYTES_MAX

struct sora_model_file {
    const char *path; /* inside the folder, '/' between parts; no part begins with '.' */
    unsigned char digest[SORA_DIGEST_SIZE];
    uint64_t size;
};

/* Appends the packed manifest; the same input gives the same bytes, whatever the order of the
 * files. The facts' own name and weight_bytes are not written: `name` and the files say them.
 * Errors: FORMAT (a rule of the wire, two files of one path), LIMIT (facts out of range, too many
 * files or bytes), MEMORY, FULL (`bytes` has no room). */
int sora_model_manifest_pack(const char *name, const struct sora_model_facts *facts,
                             const struct sora_model_file *files, size_t count,
                             struct sora_bytes *bytes, struct sora_fault *fault);

/* Unpacks and checks a blob: the rules of the wire, facts in range, files ascending by path. The
 * message is returned owned, its `any` is a Farm__ModelManifest; the facts borrow their texts from
 * it. Errors: FORMAT, LIMIT, MEMORY. */
int sora_model_manifest_unpack(const void *data, size_t size, struct sora_message **out_message,
                               struct sora_model_facts *out_facts, struct sora_fault *fault);

#endif
