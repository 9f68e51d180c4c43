"""A judge on this machine: a causal language model from a folder, or the default subject.

Where an answer is one of a few words, their probabilities are compared after one forward pass and nothing is
generated; the part of the prompts that is the same (the instruction and the description) is run once. Other
answers are generated greedily.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from sanity.errors import BadInputError
from sanity.evals.judging.cache import Answer, AnswerCache
from sanity.evals.judging.protocol import Conversation

BATCH = 16
"""Prompts that are run at once."""


class LocalJudge:
    """A transformers module and its tokenizer as a judge.

    Parameters
    ----------
    name
        How the judge is called in tables.
    module, tokenizer
        As `sanity.subject.load_module` and `load_tokenizer` give them. A tokenizer without a chat template
        (a base model's) gets the turns one below the other, and "Answer:".
    cache
        Where answers are kept, so that an interrupted run goes on; `None` keeps none.
    """

    def __init__(self, name: str, module: Any, tokenizer: Any, *, cache: AnswerCache | None = None) -> None:
        self.name = name
        self.module = module
        self.tokenizer = tokenizer
        self.cache = cache
        self.context = int(module.config.get_text_config().max_position_embeddings)
        self.device = torch.device(module.device)

    def answer(self, conversations: Sequence[Conversation]) -> list[Answer]:
        """An answer to each conversation.

        Raises `BadInputError` for one that is longer than the model's context.
        """
        prompts = [self.tokens(conversation) for conversation in conversations]
        answers: dict[int, Answer] = {}
        for batch in _batches(prompts, conversations):
            # A batch is answered whole or read whole: what stands in it moves the last bits of the others.
            kept = [self._kept(conversations[i], batch) for i in batch]
            made = [answer for answer in kept if answer is not None]
            if len(made) < len(batch):
                made = self._answer(batch, prompts, conversations)
                for i, answer in zip(batch, made, strict=True):
                    self._keep(conversations[i], batch, answer)
            answers.update(zip(batch, made, strict=True))
        return [answers[i] for i in range(len(conversations))]

    def tokens(self, conversation: Conversation) -> list[int]:
        """The prompt's token ids."""
        ids: list[int] = self.tokenizer(self._rendered(conversation), add_special_tokens=False)["input_ids"]
        if len(ids) + conversation.max_tokens > self.context:
            raise BadInputError(
                f"a question of {len(ids)} tokens and an answer of {conversation.max_tokens} do not fit into "
                f"the context of {self.name}, which is {self.context}: give fewer or shorter contexts"
            )
        return ids

    def _rendered(self, conversation: Conversation) -> str:
        from jinja2 import TemplateError

        if not getattr(self.tokenizer, "chat_template", None):
            return "\n\n".join([*(message.text for message in conversation.messages), "Answer:"])
        turns = [message.json() for message in conversation.messages]
        options = {"tokenize": False, "add_generation_prompt": True}
        try:
            return str(self.tokenizer.apply_chat_template(turns, **options))
        except TemplateError:
            # Some templates know no system turn; what it says then opens the first question.
            system, first, *rest = turns
            joined = {"role": "user", "content": f"{system['content']}\n\n{first['content']}"}
            return str(self.tokenizer.apply_chat_template([joined, *rest], **options))

    def _answer(
        self, batch: Sequence[int], prompts: Sequence[list[int]], conversations: Sequence[Conversation]
    ) -> list[Answer]:
        choices = conversations[batch[0]].choices
        if choices:
            return self._choose([prompts[i] for i in batch], choices)
        return [self._generate(prompts[i], conversations[i].max_tokens) for i in batch]

    def _choose(self, prompts: Sequence[list[int]], choices: tuple[str, ...]) -> list[Answer]:
        """The most probable of `choices` after each prompt, and the log odds of the first over the others."""
        logits = self._last_logits(prompts)
        scores = torch.stack([logits[:, ids].logsumexp(1) for ids in self._first_tokens(choices)], dim=1)
        odds = scores[:, 0] - scores[:, 1:].logsumexp(1)
        best = scores.argmax(1).tolist()
        return [
            Answer(choices[i], log_odds=value, model=self.name, prompt_tokens=len(prompt), answer_tokens=1)
            for i, value, prompt in zip(best, odds.tolist(), prompts, strict=True)
        ]

    def _first_tokens(self, choices: tuple[str, ...]) -> list[list[int]]:
        """For each choice, the tokens that it may begin with: with and without a space before it."""
        found = [
            sorted({self.tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in (c, f" {c}")})
            for c in choices
        ]
        if len({token for ids in found for token in ids}) < sum(map(len, found)):
            raise BadInputError(f"{self.name} begins two of the answers {choices} with the same token")
        return found

    @torch.no_grad()
    def _last_logits(self, prompts: Sequence[list[int]]) -> Tensor:
        """Next-token logits after each prompt, [batch, vocab]; the common beginning is run once."""
        shared = min(min(_alike(prompts[0], other) for other in prompts), min(map(len, prompts)) - 1)
        ends = [prompt[shared:] for prompt in prompts]
        cache = None
        if shared:
            start = torch.tensor([prompts[0][:shared]], device=self.device)
            cache = self.module.base_model(start, use_cache=True).past_key_values
            cache.batch_repeat_interleave(len(prompts))
        # Filled on the right: attention looks back only, so what is filled in changes nothing before it.
        width = max(map(len, ends))
        tokens = torch.tensor([end + [0] * (width - len(end)) for end in ends], device=self.device)
        hidden = self.module.base_model(tokens, past_key_values=cache, use_cache=cache is not None)
        last = torch.tensor([len(end) - 1 for end in ends], device=self.device)
        rows = hidden.last_hidden_state[torch.arange(len(ends), device=self.device), last]
        logits: Tensor = self.module.get_output_embeddings()(rows).float().cpu()
        return logits

    @torch.no_grad()
    def _generate(self, prompt: list[int], max_tokens: int) -> Answer:
        tokens = torch.tensor([prompt], device=self.device)
        made = self.module.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=max_tokens,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            pad_token_id=self.tokenizer.pad_token_id or self.tokenizer.eos_token_id or 0,
        )[0, len(prompt) :]
        text = self.tokenizer.decode(made, skip_special_tokens=True)
        return Answer(text, model=self.name, prompt_tokens=len(prompt), answer_tokens=len(made))

    def _request(self, conversation: Conversation, batch: Sequence[int]) -> dict[str, Any]:
        return {"model": self.name, "batch": len(batch), "conversation": asdict(conversation)}

    def _kept(self, conversation: Conversation, batch: Sequence[int]) -> Answer | None:
        return self.cache.get(self._request(conversation, batch)) if self.cache else None

    def _keep(self, conversation: Conversation, batch: Sequence[int], answer: Answer) -> None:
        if self.cache:
            self.cache.put(self._request(conversation, batch), answer)


def _alike(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two prompts have in common at their beginning."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _batches(prompts: Sequence[list[int]], conversations: Sequence[Conversation]) -> Iterator[list[int]]:
    """Neighbours that share at least half of a prompt and the choices, up to `BATCH` of them."""
    batch: list[int] = []
    for i, prompt in enumerate(prompts):
        if batch:
            first = prompts[batch[0]]
            alike = 2 * _alike(first, prompt) >= len(prompt)
            same = conversations[batch[0]].choices == conversations[i].choices
            if len(batch) == BATCH or not alike or not same:
                yield batch
                batch = []
        batch.append(i)
    if batch:
        yield batch


def open_local(name_or_folder: str, *, device: str = "cpu", cache: AnswerCache | None = None) -> LocalJudge:
    """The model called `name_or_folder` (see `sanity.subject.load_module`) as a judge."""
    from sanity.subject import load_module, load_tokenizer

    module = load_module(name_or_folder).to(device)
    return LocalJudge(name_or_folder, module, load_tokenizer(name_or_folder), cache=cache)
