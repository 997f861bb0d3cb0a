/* Keys and certificates of this daemon: loaded, made on first start, renewed. */
#include "daemon/identity.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>
#include <string.h>

/* ---- keys ---- */

static int load_or_make(const struct sora_state *state, const char *name, enum sora_key_kind kind,
                        struct sora_key **out_key, struct sora_fault *fault)
{
    char path[SORA_STATE_PATH_SIZE];
    struct sora_fault missing = {0};
    struct sora_key *key = NULL;
    int rc = sora_key_load(sora_state_path(state, name, path), kind, &key, &missing);
    if (rc == SORA_E_NOT_FOUND) {
        rc = sora_key_create(kind, &key, fault);
        if (rc == SORA_OK)
            rc = sora_key_save(key, path, fault);
    } else if (rc) {
        sora_fault_set(fault, rc, "%s", missing.text);
    }
    if (rc == SORA_OK)
        *out_key = key;
    else
        sora_key_destroy(&key);
    return rc;
}

/* The key of a studio that was made here; there need not be one. */
static int load_studio(const struct sora_state *state, struct sora_self *self,
                       struct sora_fault *fault)
{
    char path[SORA_STATE_PATH_SIZE];
    struct sora_fault missing = {0};
    int rc = sora_key_load(sora_state_path(state, "studio.key", path), SORA_KEY_ROOT, &self->studio,
                           &missing);
    if (rc == SORA_E_NOT_FOUND)
        return SORA_OK;
    return rc ? sora_fault_set(fault, rc, "%s", missing.text) : SORA_OK;
}

const struct sora_key *sora_self_root(const struct sora_self *self)
{
    const struct sora_key *const roots[] = {self->studio, self->local};
    for (int i = 0; i < 2; i++) {
        if (roots[i] &&
            memcmp(sora_key_public(roots[i]), self->identity.root, SORA_KEY_PUBLIC_SIZE) == 0)
            return roots[i];
    }
    return NULL;
}

/* ---- certificates ---- */

/* A certificate for what `like` says, for as long as can be. */
static int issue_like(const struct sora_key *root, const struct sora_identity *like,
                      struct sora_certificate *out_certificate, struct sora_fault *fault)
{
    struct sora_identity wanted = *like;
    wanted.wall_not_after_ms = sora_clock_wall_ms() + SORA_CERTIFICATE_LIFETIME_MS;
    return sora_certificate_issue(root, &wanted, out_certificate, fault);
}

static void put_keys(struct sora_identity *identity, const struct sora_key *sign,
                     const struct sora_key *curve)
{
    memcpy(identity->node, sora_key_public(sign), sizeof(identity->node));
    memcpy(identity->curve, sora_key_public(curve), sizeof(identity->curve));
}

int sora_self_issue(const struct sora_self *self, const struct sora_key *root, const char *studio,
                    struct sora_certificate *out_certificate, struct sora_fault *fault)
{
    struct sora_identity like = {.roles = self->identity.roles};
    memcpy(like.name, self->identity.name, sizeof(like.name));
    snprintf(like.studio, sizeof(like.studio), "%s", studio);
    put_keys(&like, self->sign, self->curve);
    return issue_like(root, &like, out_certificate, fault);
}

int sora_self_issue_user(struct sora_self *self, struct sora_certificate *out_certificate,
                         struct sora_fault *fault)
{
    int rc = issue_like(self->local, &self->user, out_certificate, fault);
    return rc ? rc : sora_certificate_read(out_certificate, &self->user, fault);
}

int sora_self_take(struct sora_self *self, const struct sora_certificate *certificate,
                   struct sora_fault *fault)
{
    struct sora_identity identity;
    int rc = sora_certificate_read(certificate, &identity, fault);
    if (rc)
        return rc;
    if (memcmp(identity.node, sora_key_public(self->sign), SORA_NODE_ID_SIZE) != 0 ||
        memcmp(identity.curve, sora_key_public(self->curve), SORA_KEY_PUBLIC_SIZE) != 0)
        return sora_fault_set(fault, SORA_E_DENIED, "the certificate is for other keys than ours");
    self->certificate = *certificate;
    self->identity = identity;
    return SORA_OK;
}

static int write_certificate(const struct sora_state *state, const char *name,
                             const struct sora_certificate *certificate, struct sora_fault *fault)
{
    char path[SORA_STATE_PATH_SIZE];
    struct sora_bytes bytes;
    sora_bytes_init(&bytes, 4096);
    int rc = sora_certificate_pack(certificate, &bytes);
    if (rc == SORA_OK)
        rc = sora_file_write(sora_state_path(state, name, path), bytes.data, bytes.size, fault);
    sora_bytes_fini(&bytes);
    return rc;
}

/* Reads a certificate file. NOT_FOUND is not put into the fault. */
static int read_certificate(const struct sora_state *state, const char *name,
                            struct sora_certificate *out_certificate, struct sora_fault *fault)
{
    char path[SORA_STATE_PATH_SIZE];
    struct sora_bytes bytes;
    struct sora_fault inner = {0};
    int rc = sora_file_read(sora_state_path(state, name, path), 4096, &bytes, &inner);
    if (rc == SORA_E_NOT_FOUND)
        return rc;
    if (rc == SORA_OK) {
        rc = sora_certificate_unpack(bytes.data, bytes.size, out_certificate, &inner);
        sora_bytes_fini(&bytes);
    }
    if (rc)
        sora_fault_set(fault, rc,
                       "%s: %s; remove the file to get a certificate of this machine's "
                       "own studio, then join again",
                       path, inner.text);
    return rc;
}

/* Whether the own certificate must be made anew: other keys, roles or name, or soon past. */
static bool is_stale(const struct sora_self *self, const struct sora_self_params *params)
{
    return self->identity.roles != params->roles || strcmp(self->identity.name, params->name) ||
           self->identity.wall_not_after_ms < sora_clock_wall_ms() + SORA_RENEW_MS;
}

static int make_own(const struct sora_self_params *params, struct sora_self *self,
                    const struct sora_key *root, struct sora_fault *fault)
{
    struct sora_certificate fresh;
    char studio[SORA_NAME_SIZE];
    snprintf(studio, sizeof(studio), "%s",
             self->identity.studio[0] ? self->identity.studio : params->name);
    self->identity.roles = params->roles;
    snprintf(self->identity.name, sizeof(self->identity.name), "%s", params->name);
    int rc = sora_self_issue(self, root, studio, &fresh, fault);
    if (rc == SORA_OK)
        rc = sora_self_take(self, &fresh, fault);
    if (rc == SORA_OK)
        rc = write_certificate(params->state, "certificate", &self->certificate, fault);
    return rc;
}

static int open_own(const struct sora_self_params *params, struct sora_self *self,
                    struct sora_fault *fault)
{
    struct sora_certificate kept;
    int rc = read_certificate(params->state, "certificate", &kept, fault);
    if (rc == SORA_E_NOT_FOUND)
        return make_own(params, self, self->local, fault);
    if (rc == SORA_OK)
        rc = sora_self_take(self, &kept, fault);
    if (rc)
        return rc;
    const struct sora_key *root = sora_self_root(self);
    if (root && is_stale(self, params))
        return make_own(params, self, root, fault);
    if (self->identity.roles & ~params->roles || strcmp(self->identity.name, params->name))
        sora_log(SORA_LOG_INFO,
                 "the studio's certificate names this node otherwise name=%s roles=%u",
                 self->identity.name, self->identity.roles);
    return SORA_OK;
}

/* ---- the local user ---- */

static int open_user(const struct sora_self_params *params, struct sora_self *self,
                     struct sora_fault *fault)
{
    struct sora_key *sign = NULL, *curve = NULL;
    struct sora_certificate certificate;
    self->user = (struct sora_identity){.roles = SORA_ROLE_USER, .name = "local user"};
    snprintf(self->user.studio, sizeof(self->user.studio), "%s", params->name);
    int rc = load_or_make(params->state, "ctl/sign.key", SORA_KEY_SIGN, &sign, fault);
    if (rc == SORA_OK)
        rc = load_or_make(params->state, "ctl/curve.key", SORA_KEY_CURVE, &curve, fault);
    /* A new one at each start: it never runs out while daemons are restarted, or renewed. */
    if (rc == SORA_OK) {
        put_keys(&self->user, sign, curve);
        rc = sora_self_issue_user(self, &certificate, fault);
    }
    if (rc == SORA_OK)
        rc = write_certificate(params->state, "ctl/certificate", &certificate, fault);
    if (rc == SORA_OK)
        rc = write_certificate(params->state, "ctl/server.certificate", &self->certificate, fault);
    sora_key_destroy(&sign);
    sora_key_destroy(&curve);
    return rc;
}

int sora_self_open(const struct sora_self_params *params, struct sora_self *out_self,
                   struct sora_fault *fault)
{
    *out_self = (struct sora_self){.sign = NULL};
    int rc = load_or_make(params->state, "sign.key", SORA_KEY_SIGN, &out_self->sign, fault);
    if (rc == SORA_OK)
        rc = load_or_make(params->state, "curve.key", SORA_KEY_CURVE, &out_self->curve, fault);
    if (rc == SORA_OK)
        rc = load_or_make(params->state, "local.key", SORA_KEY_ROOT, &out_self->local, fault);
    if (rc == SORA_OK)
        rc = load_studio(params->state, out_self, fault);
    if (rc == SORA_OK)
        rc = open_own(params, out_self, fault);
    if (rc == SORA_OK)
        rc = open_user(params, out_self, fault);
    return rc;
}

void sora_self_close(struct sora_self *self)
{
    sora_key_destroy(&self->sign);
    sora_key_destroy(&self->curve);
    sora_key_destroy(&self->local);
    sora_key_destroy(&self->studio);
}

int sora_self_publish(const struct sora_state *state, const char *endpoint,
                      struct sora_fault *fault)
{
    char path[SORA_STATE_PATH_SIZE], line[160];
    int length = snprintf(line, sizeof(line), "%s\n", endpoint);
    return sora_file_write(sora_state_path(state, "ctl/endpoint", path), line, (size_t)length,
                           fault);
}
