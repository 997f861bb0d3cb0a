/* Who may see a job, and who may render it. */
#include "scheduler/home_parts.h"

#include <string.h>

void home_look_at_root(struct sora_home *home)
{
    const struct sora_certificate *certificate = home->params.certificate;
    struct sora_identity self;
    if (home->has_root &&
        memcmp(home->signature, certificate->signature, sizeof(home->signature)) == 0)
        return;
    home->has_root = sora_certificate_read(certificate, &self, NULL) == SORA_OK;
    if (!home->has_root)
        return;
    memcpy(home->root, self.root, sizeof(home->root));
    memcpy(home->signature, certificate->signature, sizeof(home->signature));
}

/* Our own studio, or that of this daemon's local user. */
static bool is_ours(const struct sora_home *home, const unsigned char root[SORA_KEY_PUBLIC_SIZE])
{
    const unsigned char *local = home->params.local_root;
    return (local && memcmp(root, local, SORA_KEY_PUBLIC_SIZE) == 0) ||
           (home->has_root && memcmp(root, home->root, SORA_KEY_PUBLIC_SIZE) == 0);
}

bool home_may_see(const struct sora_home *home, const struct home_job *job,
                  const struct sora_identity *who)
{
    return memcmp(who->root, job->owner.root, sizeof(who->root)) == 0 || is_ours(home, who->root);
}

bool home_allows(const struct sora_home *home, const struct home_job *job,
                 const unsigned char root[SORA_KEY_PUBLIC_SIZE])
{
    const Farm__JobSpec *spec = home_spec(job);
    if (spec->visibility == FARM__VISIBILITY__VISIBILITY_OPEN || is_ours(home, root) ||
        memcmp(root, job->owner.root, SORA_KEY_PUBLIC_SIZE) == 0)
        return true;
    bool named = false;
    for (size_t i = 0; i < spec->n_studios; i++)
        named |= memcmp(spec->studios[i].data, root, SORA_KEY_PUBLIC_SIZE) == 0;
    return named;
}
