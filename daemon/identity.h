/*
 * Identity: this daemon's keys and certificate, and the credentials of its local user.
 *
 * On first start it makes the node's keys, a studio of its own named after the machine ("local"),
 * a certificate for the node and one for the local user, whom soractl speaks for. `farm init` and
 * `farm join` replace the node's certificate; the local user stays vouched for by the local root.
 * Opening blocks; one thread.
 */
#ifndef SORA_DAEMON_IDENTITY_H
#define SORA_DAEMON_IDENTITY_H

#include "daemon/state.h"
#include "proto/certificate.h"

/* Certificates are made anew when less than this is left. */
#define SORA_RENEW_MS ((uint64_t)30 * 86400 * 1000)

/* Read freely; parts keep pointers to the keys and to `certificate`, whose content changes. */
struct sora_self {
    struct sora_key *sign, *curve;
    struct sora_key *local;  /* root of the local studio */
    struct sora_key *studio; /* root made by `farm init`; NULL before */
    struct sora_certificate certificate;
    struct sora_identity identity; /* what the certificate says */
    struct sora_identity user;     /* the local user */
};

struct sora_self_params {
    const struct sora_state *state;
    const char *name; /* of the node */
    uint32_t roles;
};

/* Loads or makes everything, and writes ctl/ but for the endpoint. Errors: those of keys and files;
 * FORMAT (a damaged certificate, with the way out). Finish also after an error. */
int sora_self_open(const struct sora_self_params *params, struct sora_self *out_self,
                   struct sora_fault *fault);
void sora_self_close(struct sora_self *self);

/* The root key of the studio that vouches for this node; NULL when another daemon holds it. */
const struct sora_key *sora_self_root(const struct sora_self *self);

/* A certificate by `root` for this node with the roles and name that it has. */
int sora_self_issue(const struct sora_self *self, const struct sora_key *root, const char *studio,
                    struct sora_certificate *out_certificate, struct sora_fault *fault);

/* A fresh certificate for the local user, whose identity in `self` then says so. */
int sora_self_issue_user(struct sora_self *self, struct sora_certificate *out_certificate,
                         struct sora_fault *fault);

/* Takes a certificate for our keys into use. Errors: FORMAT, DENIED (for other keys). */
int sora_self_take(struct sora_self *self, const struct sora_certificate *certificate,
                   struct sora_fault *fault);

/* Writes ctl/endpoint. */
int sora_self_publish(const struct sora_state *state, const char *endpoint,
                      struct sora_fault *fault);

#endif
