"""`playbooks steps`: what a playbook's steps can name, as each system says it."""

from inspect import cleandoc

from flows.cli import schema
from flows.cli.exits import Exit
from flows.cli.output import NotFound, Out
from flows.service.settings import systems
from integrations.system import AnyStep, Works
from playbooks.action import Action, Capture
from playbooks.estate import naming


def steps(out: Out, name: str | None) -> Exit:
    """Show every step, or one.

    Args:
        out: where to.
        name: the step's; None for all.
    """
    known = systems().steps
    if name is not None and name not in known:
        raise NotFound(f"there is no step {name}; {naming.near(name, known)}")
    found = [(kind, works, step) for kind, works in systems().works.items() for step in works.steps]
    found = [one for one in found if name in {None, one[2].name}]
    out.document({"steps": [_row(kind, works, step) for kind, works, step in found]})
    if name is None:
        rows = [
            (step.name, f"{_does(step)}\n{_kind(step)}, takes {', '.join(step.model_fields) or 'nothing'}")
            for step in known.values()
        ]
        out.table(("step", "what it does"), rows)
        return Exit.OK
    step = known[name]
    out.say(f"{step.name}, {_kind(step)} of {', '.join(kind for kind, _, _ in found)}", "head")
    for line in cleandoc(step.__doc__ or "").splitlines():
        out.raw(line)
    if issubclass(step, Action):
        final = f"never: {step.irreversible.because}" if step.irreversible else "by `mcp-soar release`"
        out.fields([("touches", f"one {step.radius.name.lower()}"), ("given back", final)])
    if issubclass(step, Capture):
        out.fields([("exhibit", step.exhibit)])
    for kind, works, _ in found:
        what = "asks for" if len(found) == 1 else f"asks a {kind} for"
        out.fields([(what, "\n".join(works.asks(step)))])
    return Exit.OK


def _row(kind: str, works: Works, step: AnyStep) -> schema.StepRow:
    action, capture = (step if issubclass(step, Action) else None), (step if issubclass(step, Capture) else None)
    return {
        "step": step.name,
        "kind": _kind(step),
        "system": kind,
        "does": _does(step),
        "parameters": list(step.model_fields),
        "radius": action.radius.name.lower() if action else None,
        "irreversible": action.irreversible.because if action and action.irreversible else None,
        "exhibit": capture.exhibit if capture else None,
        "permissions": list(works.asks(step)),
    }


def _does(step: AnyStep) -> str:
    return cleandoc(step.__doc__ or "").partition("\n\n")[0].replace("\n", " ")


def _kind(step: AnyStep) -> str:
    return "action" if issubclass(step, Action) else "capture" if issubclass(step, Capture) else "check"
