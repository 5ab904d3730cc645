"""The rule table: one request in, one Plan out. Pure: no clock, no environment, no I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from muxproxy import exchange
from muxproxy.config import when as language
from muxproxy.config.model import Config, Rule
from muxproxy.errors import MuxError
from muxproxy.exchange import Ask, Caller, Plan, Target
from muxproxy.headers import Headers
from muxproxy.rules.conditions import Hit, Miss, compile_condition
from muxproxy.rules.context import AllText, BudgetView, Context, NoBudgets, no_text
from muxproxy.rules.globs import glob
from muxproxy.rules.recorded import Memory, RecordedContext, Unstored
from muxproxy.rules.resolve import Choice, Resolver
from muxproxy.rules.strategist import LISTED, Listed, Strategist

NO_BUDGETS = NoBudgets()
# A rule that names one of these means it for paths other than chat too.
_MEANS_PATH = frozenset({"path", "endpoint", "header"})
_TEXT = frozenset({"text", "all_text", "prompt_chars"})
_CHAT = exchange.GENERATING | {exchange.COUNT_TOKENS}


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule said. `why`: the fields that decided, for or against. `reached`: no earlier
    rule had ended the search, so that a match took effect (or was recorded, for shadow rules)."""

    rule: str
    matched: bool
    why: str
    reached: bool


class _Rule(msgspec.Struct, frozen=True):
    """`chat_only`: the endpoints at which its `to` can apply; elsewhere it does not match."""

    name: str
    hit: Hit
    miss: Miss
    to: tuple[str, ...]
    deny: str | None
    set: dict[str, object]
    tags: tuple[str, ...]
    goes_on: bool
    shadow: bool
    chat_only: frozenset[str] | None
    by_text: bool = False  # where it leads was decided by a text, and may stick

    def match(self, context: Context) -> str | None:
        """Why it matches, or None."""
        if self.chat_only is not None and context.ask.endpoint not in self.chat_only:
            return None
        return self.hit(context)


class _Effects:
    """What the rules that matched so far want."""

    __slots__ = ("by", "by_text", "deny", "names", "reasons", "set", "shadow", "tags", "to")

    def __init__(self) -> None:
        self.to: tuple[str, ...] = ()
        self.by: str | None = None
        self.by_text = False
        self.deny: str | None = None
        self.set: dict[str, object] = {}
        self.tags: tuple[str, ...] = ()
        self.names: tuple[str, ...] = ()
        self.shadow: tuple[str, ...] = ()
        self.reasons = ""


class Rulebook:
    """The compiled rules, aliases and homes of one configuration."""

    def __init__(self, config: Config, strategist: Strategist) -> None:
        self._resolver = Resolver(config, strategist)
        self._default = config.defaults.model
        self._rules = tuple(_compile(rule) for rule in config.rules)
        texts = [at for at, r in enumerate(config.rules) if r.to and r.sticky and _reads_text(r)]
        if texts:  # what is left over once no text rule matched was decided by text as well
            self._rules = tuple(
                msgspec.structs.replace(rule, by_text=True)
                if at in texts or (at > texts[0] and not config.rules[at].when)
                else rule
                for at, rule in enumerate(self._rules)
            )
        # The models that such a rule can be about; None: all. Who names another one goes where it
        # says whatever the text: nothing to remember.
        named = [language.models(language.parse(config.rules[at].when, _refuse)) for at in texts]
        self._by_text = (
            None if None in named else frozenset().union(*(models for models in named if models))
        )
        for names in {rule.to for rule in self._rules if rule.to}:
            self._resolver.prepare(names)
        if self._default is not None:
            self._resolver.prepare((self._default,))
        self.headers = frozenset(
            test.arg.encode("latin-1")
            for rule in config.rules
            for test in language.tests(language.parse(rule.when, _refuse))
            if test.field == "header"
        )
        """Lower-case names of the headers that rules read."""

    def pieces(self) -> tuple[object, ...]:
        """The compiled rules: a large table is let go of one by one."""
        return self._rules

    def home(self, dialect: str) -> str | None:
        """The first provider that serves callers of that dialect; None: there is none."""
        return self._resolver.home(dialect)

    def resolve(self, name: str, ask: Ask) -> Choice:
        """Candidates of an alias, `provider/model` or bare name (a budget's downgrade)."""
        self._resolver.prepare((name,))
        return self._resolver.resolve((name,), _context(Caller(), ask))

    def decide(
        self,
        caller: Caller,
        ask: Ask,
        headers: Headers,
        now: float,
        budgets: BudgetView = NO_BUDGETS,
        all_text: AllText = no_text,
        pinned: str | None = None,
    ) -> Plan:
        """The plan for one request.

        `now` is Unix seconds; `headers` have lower-case names; `pinned` is the provider that
        /p/NAME or an absolute-form host chose: rules may then deny, set and tag, not reroute.
        A refusal is `Plan.deny`. Raises MuxError: model_not_found when no provider can serve the
        request, forbidden when the caller's key may not use the model.
        """
        context = Context(caller, ask, headers, now, budgets, all_text)
        effects = _Effects()
        for rule in self._rules:
            why = rule.match(context)
            if why is not None and not _apply(rule, why, effects, context):
                break
        plan = self._plan(effects, context, pinned)
        if caller.models is not None and plan.deny is None:
            _restrict(plan, caller.models, ask.model)
        return plan

    def decide_again(self, context: RecordedContext, memory: Memory) -> Plan:
        """The plan for a call of the past. Raises MuxError as `decide` does, and Unstored where
        neither the record nor `memory` says whether a rule matches."""
        effects = _Effects()
        for rule in self._rules:
            try:
                why = rule.match(context)
            except Unstored as missing:
                why = memory.settle(rule.name, missing)
            if why is not None and not _apply(rule, why, effects, context):
                break
        plan = self._plan(effects, context, None)
        if context.caller.models is not None and plan.deny is None:
            _restrict(plan, context.caller.models, context.ask.model)
        return plan

    def explain(
        self,
        caller: Caller,
        ask: Ask,
        headers: Headers,
        now: float,
        budgets: BudgetView = NO_BUDGETS,
        all_text: AllText = no_text,
    ) -> list[Verdict]:
        """Every rule's verdict, in order; the same tests as `decide`, which stops at the first."""
        return self._verdicts(Context(caller, ask, headers, now, budgets, all_text), None)

    def explain_again(self, context: RecordedContext, memory: Memory) -> list[Verdict]:
        """The same for a call of the past; what nobody knows any more is said so."""
        return self._verdicts(context, memory)

    def _verdicts(self, context: Context, memory: Memory | None) -> list[Verdict]:
        effects = _Effects()
        verdicts: list[Verdict] = []
        reached = True
        for rule in self._rules:
            try:
                why = rule.match(context)
                against = "" if why is not None else _against(rule, context)
            except Unstored as missing:
                why, against = _remembered(rule.name, missing, memory)
            verdicts.append(
                Verdict(
                    rule=rule.name, matched=why is not None, why=why or against, reached=reached
                )
            )
            if why is not None and reached:
                reached = _apply(rule, why, effects, context)
        return verdicts

    def _plan(self, effects: _Effects, context: Context, pinned: str | None) -> Plan:
        plan = Plan(
            rule=effects.by,
            reason=effects.reasons,
            set=effects.set,
            tags=effects.tags,
            deny=effects.deny,
            rules=effects.names,
            shadow=effects.shadow,
        )
        if effects.deny is not None:
            return plan
        if pinned is not None:
            plan.candidates = (Target(pinned),)
            _because(plan, f"sent to {pinned}")
        elif effects.to:
            if effects.by_text:
                plan.sticks = exchange.BY_TEXT
            self._route(plan, effects.to, context)
            if not plan.candidates:
                raise _nobody(context.ask)
        else:
            if self._by_text is None or context.ask.model in self._by_text:
                plan.sticks = exchange.BY_TEXT
            self._own(plan, context)
        return plan

    def _route(self, plan: Plan, names: tuple[str, ...], context: Context) -> None:
        """Candidates that a rule, an alias or a default chose."""
        choice = self._resolver.resolve(names, context)
        plan.candidates = choice.candidates
        plan.chosen = True
        plan.strategy = choice.strategy
        if choice.strategy not in (None, LISTED):
            plan.sticks = plan.sticks or exchange.BY_STRATEGY
        plan.score, plan.judged, plan.spec = choice.score, choice.judged, choice.spec
        plan.balance, plan.learning = choice.balance, choice.learning
        if len(names) == 1 and self._resolver.is_alias(names[0]):
            plan.alias = names[0]
        if choice.reason:
            _because(plan, choice.reason)
        if context.ask.endpoint not in exchange.INSPECTED:  # no model in an unread body
            providers = dict.fromkeys(t.provider for t in choice.candidates)
            plan.candidates = tuple(Target(p) for p in providers)

    def _own(self, plan: Plan, context: Context) -> None:
        """No rule said where: the request goes where it says."""
        ask, resolver = context.ask, self._resolver
        model = ask.model if context.inspected else None
        if not model and self._default is not None and ask.endpoint in _CHAT:
            _because(plan, f"no model named, default {self._default}")
            self._route(plan, (self._default,), context)
        elif model and resolver.is_alias(model):
            _because(plan, f"alias {model}")
            self._route(plan, (model,), context)
        else:
            target = resolver.split(model) if model else None
            home = resolver.home(ask.dialect)
            if target is None and home is not None:
                target = Target(home, model or None)
            if target is not None:
                plan.candidates = (target,)
                _because(plan, f"goes to {target.provider} as asked")
        if not plan.candidates:
            raise _nobody(ask)


def compile_rules(config: Config, strategist: Strategist | None = None) -> Rulebook:
    """The rulebook of a checked configuration.

    Raises ValueError for a `when` that `config.check` would have refused.
    """
    return Rulebook(config, strategist if strategist is not None else Listed())


def compile_when(when: dict[str, Any] | None) -> Callable[[Caller, Ask, Headers, float], bool]:
    """A predicate for a `when` mapping that stands outside the rules, as a budget's.

    `budget.NAME` and `all_text` have nothing to look at there and never hold.
    """
    hit = compile_condition(language.parse(when, _refuse)).hit

    def matches(caller: Caller, ask: Ask, headers: Headers, now: float) -> bool:
        return hit(Context(caller, ask, headers, now, NO_BUDGETS, no_text)) is not None

    return matches


def _compile(rule: Rule) -> _Rule:
    parsed = language.parse(rule.when, _refuse)
    compiled = compile_condition(parsed)
    to = (rule.to,) if isinstance(rule.to, str) else tuple(rule.to or ())
    fields = {test.field for test in language.tests(parsed)}
    chat_only = None
    if to and not fields & _MEANS_PATH:
        # A chat model is no place for an upload or a list; embeddings only when a model says so.
        chat_only = _CHAT | {exchange.EMBEDDINGS} if "model" in fields else _CHAT
    return _Rule(
        name=rule.name,
        hit=compiled.hit,
        miss=compiled.miss,
        to=to,
        deny=rule.deny,
        set=rule.set,
        tags=(rule.tag,) if isinstance(rule.tag, str) else tuple(rule.tag or ()),
        goes_on=rule.continue_,
        shadow=rule.shadow,
        chat_only=chat_only,
    )


def _reads_text(rule: Rule) -> bool:
    fields = {test.field for test in language.tests(language.parse(rule.when, _refuse))}
    return bool(fields & _TEXT)


def _refuse(path: language.Path, message: str, hint: str) -> None:
    raise ValueError(f"when {'.'.join(map(str, path))}: {message}")


def _context(caller: Caller, ask: Ask) -> Context:
    return Context(caller, ask, [], 0.0, NO_BUDGETS, no_text)


def _apply(rule: _Rule, why: str, effects: _Effects, context: Context) -> bool:
    """Take over a matching rule's effects; False: the search ends."""
    if rule.shadow:
        effects.shadow = (*effects.shadow, rule.name)
        _tell(effects, f"shadow rule {rule.name}: {why}")
        return True
    _tell(effects, f"rule {rule.name}: {why}")
    effects.names = (*effects.names, rule.name)
    effects.by = rule.name
    if rule.deny is not None:
        effects.deny = rule.deny
        return False
    if rule.to:
        effects.to = rule.to
        effects.by_text = rule.by_text
    if rule.set:
        effects.set = {**effects.set, **rule.set}
    if rule.tags:
        effects.tags = tuple(dict.fromkeys((*effects.tags, *rule.tags)))
        context.tags = (*context.tags, *rule.tags)
    return rule.goes_on


def _tell(effects: _Effects, text: str) -> None:
    effects.reasons = f"{effects.reasons}; {text}" if effects.reasons else text


def _remembered(rule: str, missing: Unstored, memory: Memory | None) -> tuple[str | None, str]:
    """(why it matched then, else what is known against it)."""
    if memory is None:
        raise missing
    try:
        return memory.settle(rule, missing), "did not match then"
    except Unstored:
        return None, f"unknown: {missing}"


def _against(rule: _Rule, context: Context) -> str:
    if rule.chat_only is not None and context.ask.endpoint not in rule.chat_only:
        return f"a rule for {context.ask.endpoint} must name the path, endpoint or a header"
    return rule.miss(context)


def _because(plan: Plan, reason: str) -> None:
    plan.reason = f"{plan.reason}; {reason}" if plan.reason else reason


def _nobody(ask: Ask) -> MuxError:
    return MuxError("model_not_found", f"no configured provider serves {ask.dialect} requests")


def _restrict(plan: Plan, allowed: tuple[str, ...], asked: str | None) -> None:
    """Keep the candidates that the caller's key may use; its globs name aliases or models."""
    covers = [glob(one) for one in allowed]

    def may(name: str | None) -> bool:
        return name is not None and any(one(name) for one in covers)

    # Who may ask for a name may have what the operator's rules make of it.
    if may(asked) or may(plan.alias):
        return
    kept = []
    judged = 0  # of the first ones, whose answers are judged, so many are left
    for at, target in enumerate(plan.candidates):
        # A pinned provider, or a body passed through unread, keeps the name that was asked for.
        name = target.model if target.model is not None else asked
        if name is None or may(name) or may(f"{target.provider}/{name}"):
            kept.append(target)
            judged += at < plan.judged
    if not kept:
        raise MuxError("forbidden", "this key may not use that model")
    plan.candidates = tuple(kept)
    plan.judged = judged if judged < len(kept) else 0  # nobody is left to go on to
