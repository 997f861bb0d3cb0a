/* The only C++ of this layer: sentencepiece offers no C interface. */
#include "model/tokenizer_sentencepiece.h"

#include <sentencepiece_processor.h>

#include <exception>
#include <new>

struct sora_sentencepiece {
    sentencepiece::SentencePieceProcessor processor;
};

enum sora_sentencepiece_status sora_sentencepiece_create(const void *model, size_t size,
                                                         struct sora_sentencepiece **out_pieces)
{
    struct sora_sentencepiece *pieces = nullptr;
    auto result = SORA_SENTENCEPIECE_BROKEN;
    try {
        pieces = new sora_sentencepiece;
        absl::string_view bytes(static_cast<const char *>(model), size);
        if (pieces->processor.LoadFromSerializedProto(bytes).ok())
            result = SORA_SENTENCEPIECE_OK;
    } catch (const std::bad_alloc &) {
        result = SORA_SENTENCEPIECE_MEMORY;
    } catch (const std::exception &) {
        result = SORA_SENTENCEPIECE_BROKEN;
    }
    if (result == SORA_SENTENCEPIECE_OK)
        *out_pieces = pieces;
    else
        delete pieces;
    return result;
}

void sora_sentencepiece_destroy(struct sora_sentencepiece **pieces)
{
    if (!pieces)
        return;
    delete *pieces;
    *pieces = nullptr;
}

int sora_sentencepiece_count(const struct sora_sentencepiece *pieces)
{
    return pieces->processor.GetPieceSize();
}

int sora_sentencepiece_unknown_id(const struct sora_sentencepiece *pieces)
{
    return pieces->processor.unk_id();
}

struct sora_sentencepiece_item sora_sentencepiece_at(const struct sora_sentencepiece *pieces,
                                                     int id)
{
    const std::string &text = pieces->processor.IdToPiece(id);
    return {text.data(), text.size(), static_cast<double>(pieces->processor.GetScore(id))};
}
