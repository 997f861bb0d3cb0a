/*
 * Model manifests: between the wire's form and struct sora_model_facts. Pure.
 */
#ifndef SORA_PROTO_MODEL_MANIFEST_H
#define SORA_PROTO_MODEL_MANIFEST_H

#include "base/bytes.h"
#include "base/job_plan.h"
#include "proto/message.h"

struct sora_model_file {
    const char *path;
    unsigned char digest[SORA_DIGEST_SIZE];
    uint64_t size;
};

/* Appends the packed manifest; the same input gives the same bytes. Errors: FORMAT, LIMIT, MEMORY.
 */
int sora_model_manifest_pack(const char *name, const struct sora_model_facts *facts,
                             const struct sora_model_file *files, size_t count,
                             struct sora_bytes *bytes, struct sora_fault *fault);

/* Unpacks and checks a blob. The message is Farm__ModelManifest; the facts borrow from it. */
int sora_model_manifest_unpack(const void *data, size_t size, struct sora_message **out_message,
                               struct sora_model_facts *out_facts, struct sora_fault *fault);

#endif
