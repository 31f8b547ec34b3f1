"""`emit`: publish an event (contract 2.4)."""

from uuid import NAMESPACE_OID, uuid5

import msgspec

from service.engine.flow import Outcome, Run, Steps, raised
from service.engine.messages import Publish
from service.engine.places import Entered
from service.language.cloudevents import LARGEST_EVENT, EventRefused, complete
from service.language.document import Emit
from service.language.expressions import shortened


def emit(run: Run, entered: Entered, work: Emit) -> Steps[Outcome | None]:
    """Publish the event, which is also the output.

    An `id` that the author left out follows from the instance and the number of this run, so that an advance that is
    made again publishes the same event.
    """
    given = yield from run.value(entered, work.event, entered.frame.input)
    identifier = uuid5(NAMESPACE_OID, f"{run.facts.instance_id}:{entered.frame.number}")
    try:
        event = complete(given, identifier=str(identifier), source="", at=run.at)
    except EventRefused as refused:
        raise raised("validation", "Not an event", shortened(str(refused)), entered.pointer) from None
    if len(msgspec.json.encode(event)) > LARGEST_EVENT:
        detail = f"An event has at most {LARGEST_EVENT} bytes; emit where its data is instead of the data."
        raise raised("validation", "Event too large", detail, entered.pointer)
    run.published.append(Publish(event))
    return Outcome(event)
