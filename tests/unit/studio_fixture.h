/*
 * A studio with a node, for tests: keys, certificate, and a trust that knows the studio.
 */
#ifndef SORA_TESTS_UNIT_STUDIO_FIXTURE_H
#define SORA_TESTS_UNIT_STUDIO_FIXTURE_H

#include "proto/certificate.h"

#include <stdio.h>
#include <string.h>

#define STUDIO_NOW ((uint64_t)1800000000000) /* January 2027, Unix milliseconds */

struct studio {
    struct sora_key *root, *sign, *curve;
    struct sora_identity identity;
    struct sora_certificate certificate;
};

static inline void studio_init(struct studio *studio, const char *name, uint32_t roles)
{
    *studio = (struct studio){.root = NULL};
    SORA_ASSERT(sora_key_create(SORA_KEY_ROOT, &studio->root, NULL) == 0);
    SORA_ASSERT(sora_key_create(SORA_KEY_SIGN, &studio->sign, NULL) == 0);
    SORA_ASSERT(sora_key_create(SORA_KEY_CURVE, &studio->curve, NULL) == 0);
    struct sora_identity wanted = {.roles = roles, .wall_not_after_ms = STUDIO_NOW + 86400000};
    memcpy(wanted.node, sora_key_public(studio->sign), sizeof(wanted.node));
    memcpy(wanted.curve, sora_key_public(studio->curve), sizeof(wanted.curve));
    snprintf(wanted.name, sizeof(wanted.name), "%s", name);
    snprintf(wanted.studio, sizeof(wanted.studio), "studio of %s", name);
    SORA_ASSERT(sora_certificate_issue(studio->root, &wanted, &studio->certificate, NULL) == 0);
    SORA_ASSERT(sora_certificate_read(&studio->certificate, &studio->identity, NULL) == 0);
}

static inline void studio_fini(struct studio *studio)
{
    sora_key_destroy(&studio->root);
    sora_key_destroy(&studio->sign);
    sora_key_destroy(&studio->curve);
}

#endif
