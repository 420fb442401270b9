"""The work on parts at one place: the part in work, its captured values, and when its record is complete.

A new serial number, or a condition, begins and ends the work. Readings a little later belong to it, too: points
of several groups change one after another, and results come when the next part is in work already. `docs/parts.md`
has the rules.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from drivers.base import Fault, Quality, Reason, bad
from gateway.pipeline.derive import PENDING
from gateway.pipeline.part_board import Formula, text_of
from gateway.pipeline.part_state import Candidate, Done, PlaceState, Sum, Work
from gateway.settings.expressions.check import LATE
from gateway.settings.operation import Counters, Function

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from drivers.base import Value
    from gateway.pipeline.part_board import Board
    from gateway.settings.operation import Captured, Operation

MOST_DONE = 16
"""Parts whose records wait for results; with more, the oldest is recorded as it is."""

MOST_LOTS = 20
"""Lots of one material in one part."""

RESULTS, COUNTERS, END = "results", "counters", "end"
"""The things that a record may wait for."""

_NO_READING = bad(Reason.NOT_AVAILABLE, "no reading")
_NO_RESULT = bad(Reason.NOT_AVAILABLE, "no result")


class _Value:
    """A captured value, compiled."""

    def __init__(self, captured: Captured, places: Mapping[str, int]) -> None:
        self.name, self.function = captured.name, captured.function
        self.formula = Formula(captured.expression, places)
        self.during = None if captured.during is None else Formula(captured.during, places)
        self.pushed = any(one.pushed for one in captured.expression.program.inputs)
        self.is_sum = self.during is not None or self.function not in {Function.LAST, Function.RESULT}

    def add(self, total: Sum, board: Board) -> None:
        """Count a reading."""
        value, fault = self.formula.of(board)
        if fault is not None and fault is not PENDING:
            total.reason, total.code = fault.reason, fault.code
        if value is None:
            return
        before, total.count = total.value, total.count + 1
        if total.count == 1 or before is None or self.function is Function.LAST:
            total.value = value
        elif self.function is Function.MEAN:
            total.value = before + value  # type: ignore[operator] # of numbers, as the configuration was checked
        elif self.function is Function.MIN:
            total.value = min(before, value)
        elif self.function is Function.MAX:
            total.value = max(before, value)

    def entry(self, total: Sum | None, board: Board) -> dict[str, Any]:
        """Return the value as a record has it."""
        if total is None:
            return self._entry(*self.formula.of(board))
        value = total.value
        if self.function is Function.MEAN and isinstance(value, int | float):
            value = value / total.count
        if value is None:
            fault = bad(Reason(total.reason), total.code) if total.reason else _NO_READING
        else:
            fault = Fault(Quality.UNCERTAIN, Reason(total.reason), total.code) if total.reason else None  # type: ignore[assignment] # None for good
        return self._entry(value, fault)

    def missing(self) -> dict[str, Any]:
        """Return the value of a result that did not come."""
        return self._entry(None, _NO_RESULT)

    def _entry(self, value: Value | None, fault: Fault | None) -> dict[str, Any]:
        entry: dict[str, Any] = {"name": self.name}
        if isinstance(value, int | float):
            entry["value"] = value
            if isinstance(value, bool) or int(value) in self.formula.labels:
                entry["text"] = text_of(value, self.formula.labels)
        elif value is not None:
            entry["text"] = text_of(value, {})
        if self.formula.unit:
            entry["unit"] = self.formula.unit
        if fault is not None:
            entry |= {"quality": fault.quality.value, "reason": fault.reason.value}
            entry |= {"code": fault.code} if fault.code else {}
        return entry


class PlaceRun:
    """The parts at one place of a machine.

    `emit` takes a complete record, `note` is called when the state changes.
    """

    def __init__(
        self,
        operation: Operation,
        name: str,
        places: Mapping[str, int],
        emit: Callable[[dict[str, Any]], None],
        note: Callable[[], None],
    ) -> None:
        """Prepare. `name` is that of the operation, `places` are the places of points on the board."""
        self.operation = operation
        self._name = name
        self._emit = emit
        self._note = note
        self.serial = Formula(operation.serial, places)
        inputs = operation.serial.program.inputs
        self._gap = 0 if any(one.pushed for one in inputs) else round(max(one.every for one in inputs) * LATE * 1e6)
        self._begin = None if operation.begin is None else Formula(operation.begin, places)
        self._end = None if operation.end is None else Formula(operation.end, places)
        self._results_of = None if operation.results_of is None else Formula(operation.results_of, places)
        result = operation.result
        self._result = None if result is None or isinstance(result, Counters) else Formula(result, places)
        self._counters = (
            (Formula(result.good, places), Formula(result.rejected, places)) if isinstance(result, Counters) else None
        )
        self.values = [_Value(one, places) for one in operation.values]
        self._materials = [(material, Formula(one, places)) for material, one in operation.materials]
        self._facts = [(fact, Formula(one, places)) for fact, one in operation.facts]
        self.active: frozenset[int] = frozenset()
        """The positions of the captured values whose readings count now."""
        self._active_in: Work | None = None
        self.state = PlaceState(operation.identity)
        self._unseen = False  # something may have happened since the reading before
        self.due = math.inf

    def load(self, state: PlaceState, now: float) -> bool:
        """Continue with a saved state; returns False if it is that of another operation."""
        fits = state.identity == self.operation.identity
        if not fits or (state.work is not None and len(state.work.sums) != len(self.values)):
            return False
        state.unsure = True  # nobody knows what happened meanwhile
        operation = self.operation
        if state.candidate is not None:
            state.candidate.stable_at = now + operation.stable
        if (work := state.work) is not None:
            work.results_at = None if work.results_at is None else now + operation.settle
            work.again_at = now + operation.settle
            work.new_lots = {name: (lot, now + operation.settle) for name, (lot, _) in work.new_lots.items()}
        for done in state.done:
            done.results_at = None if done.results_at is None else now + operation.settle
            done.settled_at, done.until = now + operation.settle, now + operation.wait
        self.state = state
        self._plan()
        return True

    # -- what happens --

    def measure(self, positions: frozenset[int], board: Board) -> None:
        """Count the readings of captured values whose points were read."""
        work = self.state.work
        if work is None or self.state.candidate is not None:
            return
        for at in positions & self.active:
            self.values[at].add(work.sums[at], board)
            self._note()

    def step(self, time: int, before: Board, board: Board, now: float) -> None:
        """Follow a change of a point that says which part is in work; `before` are the readings before it.

        `time` is that of the readings, `now` is monotonic, in seconds.
        """
        self._note()
        if self._results_of is not None:
            self._see_results(self._results_of, board, now)
        self._see_serial(time, before, board, now)
        if self._begin is not None:
            known, self.state.begin = self.state.begin, _known(self._begin.truth(board), self.state.begin)
            if self.state.begin and known is not True:
                self._see_begin(None if known is None or self._unseen else time, now)
        if self._end is not None:
            known, self.state.end = self.state.end, _known(self._end.truth(board), self.state.end)
            if self.state.end and known is False:
                self._see_end(None if self._unseen else time, board, now)
        self._see_lots(board, now)
        self._activate(board)
        self.tick(board, now)

    def tick(self, board: Board, now: float) -> None:
        """Do the work whose time has come."""
        state = self.state
        if state.candidate is not None and now >= state.candidate.stable_at:
            self._accept(state.candidate, board, now)
            self._see_lots(board, now)
            self._activate(board)
        if (work := state.work) is not None:
            if work.results_at is not None and now >= work.results_at:
                work.results, work.results_at = self._results(work.serial or "", board), None
                self._note()
            if work.again is not None and now >= work.again_at and state.candidate is None:
                self._work_again(work, work.again, board, now)
            for material, (lot, at) in list(work.new_lots.items()):
                if now >= at:
                    del work.new_lots[material]
                    _add_lot(work.lots, material, lot)
                    self._note()
        for done in list(state.done):
            self._complete(done, board, now)
        self._plan()

    def _plan(self) -> None:
        """Compute when a tick is due."""
        state, times = self.state, [math.inf]
        if state.candidate is not None:
            times.append(state.candidate.stable_at)
        if (work := state.work) is not None:
            times += [] if work.results_at is None else [work.results_at]
            times += [] if work.again is None else [work.again_at]
            times += [at for _, at in work.new_lots.values()]
        for done in state.done:
            times += [] if done.results_at is None else [done.results_at]
            times.append(done.settled_at if END in done.needs or COUNTERS in done.needs else done.until)
        self.due = min(times)

    # -- the serial number --

    def _see_serial(self, time: int, before: Board, board: Board, now: float) -> None:
        state = self.state
        serial = self.serial.text(board)
        if serial is None:
            state.unsure, self._unseen = True, False
            return
        gap = time - state.seen > self._gap if state.unsure or self._gap else False
        unseen = self._unseen = state.shown is None or gap
        state.seen, state.unsure = time, False
        if serial == state.shown:
            if state.candidate is not None:  # the serial number was read half written
                state.candidate = None
            return
        candidate = state.candidate
        if candidate is None:
            closing = self._closed(state.work, None if unseen else time, before) if state.work is not None else None
            candidate = Candidate(serial, 0 if unseen else time, 0 if unseen else time, now, closing)
        elif candidate.serial == serial:
            return
        candidate.serial, candidate.began = serial, candidate.began and time
        candidate.stable_at = now + self.operation.stable
        state.candidate = candidate
        if not self.operation.stable:
            self._accept(candidate, board, now)

    def _accept(self, candidate: Candidate, board: Board, now: float) -> None:
        """Let a serial number count."""
        state = self.state
        state.candidate = None
        before, state.shown = state.shown, candidate.serial
        self._note()
        if self.operation.finished:
            if before is not None and candidate.serial:
                self._finish(candidate, board, now)
            return
        work, serial = state.work, candidate.serial
        if work is not None and work.serial is None and serial:
            work.serial = serial
            return
        again = None if work is None else work.again
        if work is not None:
            if again is not None and candidate.closing is not None:
                _set_end(candidate.closing.record, again)
            self._close(candidate.closing, work, now)
        if serial and (again is not None or self._begin is None or self._begin.truth(board)):
            self._open(serial, again or candidate.began or None)

    def _open(self, serial: str | None, began: int | None) -> None:
        self.state.work = Work(serial, began, [Sum() for _ in self.values])

    def _finish(self, candidate: Candidate, board: Board, now: float) -> None:
        """Record a part that the machine has finished; nobody saw its begin."""
        work = Work(candidate.serial, None, [Sum() for _ in self.values])
        done = self._closed(work, candidate.began or None, board)
        done.needs = [RESULTS]
        done.results_at = now + self.operation.settle
        self._wait(done, now)

    # -- conditions --

    def _see_begin(self, time: int | None, now: float) -> None:
        state = self.state
        if state.work is None:
            shown = state.shown or ""
            self._open(shown if shown and shown != state.last else None, time)
        elif state.work.again is None and time is not None:
            state.work.again, state.work.again_at = time, now + self.operation.settle

    def _work_again(self, work: Work, began: int, board: Board, now: float) -> None:
        """Work on the next part has begun, and it has the same serial number."""
        self._close(self._closed(work, began if self._end is None else None, board), work, now)
        self._open(work.serial, began)

    def _see_end(self, time: int | None, board: Board, now: float) -> None:
        state = self.state
        late = next((one for one in state.done if END in one.needs), None)
        if late is not None and now < late.settled_at:
            late.needs.remove(END)
            _set_end(late.record, time)
        elif state.work is not None:
            if state.work.serial is None and state.shown:
                state.work.serial = state.shown
            self._close(self._closed(state.work, time, board), state.work, now, by_condition=True)
        elif state.shown and state.shown != state.last:
            work = Work(state.shown, None, [Sum() for _ in self.values])
            self._close(self._closed(work, time, board), work, now, by_condition=True)

    # -- the end of the work --

    def _closed(self, work: Work, ended: int | None, board: Board) -> Done:
        """Return the record of a part as it is now."""
        operation = self.operation
        lots = {name: list(found) for name, found in work.lots.items()}
        for material, formula in self._materials:
            if not lots.get(material) and (lot := formula.text(board)):
                lots[material] = [lot]
        record: dict[str, Any] = {
            "serial": work.serial or "", "operation": self._name, "place": operation.place,
            "began": work.began, "ended": None, "result": None,
        }  # fmt: skip
        record |= {fact: formula.text(board) for fact, formula in self._facts}
        record["values"] = [
            one.entry(total if one.is_sum else None, board)
            for one, total in zip(self.values, work.sums, strict=True)
            if one.function is not Function.RESULT
        ]
        record["materials"] = [{"name": name, "lot": lot} for name, found in lots.items() for lot in found]
        if operation.curves:
            record["curves"] = list(operation.curves)
        _set_end(record, ended)
        done = Done(record, [])
        if self._counters is not None:
            done.needs.append(COUNTERS)
            good, rejected = (formula.of(board)[0] for formula in self._counters)
            done.counters = (good, rejected) if isinstance(good, int) and isinstance(rejected, int) else None
        elif self._results_of is None and self._result is not None:
            record["result"] = self._result.text(board)
        if self._results_of is not None:
            done.needs.append(RESULTS)
        return done

    def _close(self, done: Done | None, work: Work, now: float, *, by_condition: bool = False) -> None:
        """End the work on a part. `by_condition` says that the condition for it has become true."""
        self.state.work = None
        self.state.last = work.serial or self.state.last
        if done is None:
            return
        done.record["serial"] = work.serial or done.record["serial"]
        if self._end is not None and not by_condition:  # it may follow
            done.needs.append(END)
        if work.results is not None:
            _add_results(done, work.results)
        done.results_at = work.results_at
        self._wait(done, now)

    def _wait(self, done: Done, now: float) -> None:
        """Record a part, as soon as all of its record is there."""
        self._note()
        done.settled_at, done.until = now + self.operation.settle, now + self.operation.wait
        self.state.done.append(done)
        if not done.needs:
            self._send(done)
        elif len(self.state.done) > MOST_DONE:
            self._give_up(self.state.done[0])

    def _complete(self, done: Done, board: Board, now: float) -> None:
        """Add to a record the results that have arrived, or note that they have not come in time."""
        if RESULTS in done.needs and done.results_at is not None and now >= done.results_at:
            _add_results(done, self._results(done.record["serial"], board))
        if now >= done.settled_at:
            if COUNTERS in done.needs:
                self._count(done, board)
            if END in done.needs:
                done.needs.remove(END)
                _set_end(done.record, None)
        if not done.needs:
            self._send(done)
        elif now >= done.until:
            if RESULTS in done.needs:  # those of this serial number may be there from an earlier part
                _add_results(done, self._results(done.record["serial"], board))
            self._give_up(done)

    def _give_up(self, done: Done) -> None:
        """Record a part without the results that have not come."""
        if RESULTS in done.needs:
            _add_results(done, self._no_results())
        self._send(done)

    def _send(self, done: Done) -> None:
        self.state.done.remove(done)
        record = done.record
        began, ended = record["began"], record["ended"]
        if began is not None and ended is not None and ended < began:  # a clock was set back
            record["began"] = None
            _miss(record, "clock")
        if record["began"] is None and not self.operation.finished:
            _miss(record, "begin")
        if record["result"] is None and self.operation.result is not None:
            _miss(record, "result")
        self._note()
        self._emit(record)

    # -- results and lots --

    def _see_results(self, formula: Formula, board: Board, now: float) -> None:
        state, serial = self.state, formula.text(board)
        if serial is None or serial == state.results_of:
            return
        state.results_of = serial
        at = now + self.operation.settle
        waiting = next((one for one in state.done if RESULTS in one.needs and one.record["serial"] == serial), None)
        if waiting is not None:
            waiting.results_at = at
        elif state.work is not None and serial and serial == state.work.serial:
            state.work.results_at = at

    def _results(self, serial: str, board: Board) -> dict[str, Any]:
        """Return the results that the machine shows now, if they are those of a part."""
        if self._results_of is not None and self._results_of.text(board) != serial:
            return self._no_results()
        function = Function.LAST if self.operation.finished else Function.RESULT
        values = [one.entry(None, board) for one in self.values if one.function is function]
        return {"result": self._text_of_result(board), "values": values}

    def _no_results(self) -> dict[str, Any]:
        values = [one.missing() for one in self.values if one.function is Function.RESULT]
        return {"result": None, "values": values}

    def _text_of_result(self, board: Board) -> str | None:
        return None if self._result is None else self._result.text(board)

    def _count(self, done: Done, board: Board) -> None:
        done.needs.remove(COUNTERS)
        good, rejected = (formula.of(board)[0] for formula in self._counters or ())
        made = None
        if done.counters is not None and isinstance(good, int) and isinstance(rejected, int):
            made = good - done.counters[0], rejected - done.counters[1]
        done.record["result"] = {(1, 0): "good", (0, 1): "rejected"}.get(made) if made is not None else None

    def _see_lots(self, board: Board, now: float) -> None:
        """Follow the lots of materials: a lot counts when it stays, since points change one after another."""
        work = self.state.work
        if work is None or self.state.candidate is not None:
            return
        for material, formula in self._materials:
            lot = formula.text(board)
            if not lot:
                continue
            known = work.lots.get(material)
            if known and known[-1] == lot:
                work.new_lots.pop(material, None)
            elif work.new_lots.get(material, ("",))[0] != lot:
                work.new_lots[material] = lot, now + self.operation.settle

    def _activate(self, board: Board) -> None:
        """Find out which captured values count readings now. A value that a device has pushed before counts, too."""
        work = self.state.work
        active = frozenset(
            at for at, one in enumerate(self.values)
            if work is not None and one.is_sum and (one.during is None or one.during.truth(board))
        )  # fmt: skip
        fresh = active - self.active if work is self._active_in else active
        self.active, self._active_in = active, work
        if work is not None and self.state.candidate is None:
            for at in fresh:
                if self.values[at].pushed:
                    self.values[at].add(work.sums[at], board)


def _known(truth: bool | None, before: bool | None) -> bool | None:  # noqa: FBT001 - values of conditions
    return before if truth is None else truth


def _set_end(record: dict[str, Any], ended: int | None) -> None:
    record["ended"] = ended
    _miss(record, "end", ended is None)


def _miss(record: dict[str, Any], name: str, missing: bool = True) -> None:  # noqa: FBT001, FBT002 - a state of the name
    """Note in a record whether a part of it is missing."""
    names = [one for one in record.get("missing", "").split(", ") if one and one != name]
    if names or missing:
        record["missing"] = ", ".join([*names, name] if missing else names)
    else:
        record.pop("missing", None)


def _add_lot(lots: dict[str, list[str]], material: str, lot: str) -> None:
    found = lots.setdefault(material, [])
    if lot not in found and len(found) < MOST_LOTS:
        found.append(lot)


def _add_results(done: Done, results: dict[str, Any]) -> None:
    if RESULTS in done.needs:
        done.needs.remove(RESULTS)
    done.results_at = None
    names = {one["name"] for one in results["values"]}
    done.record["values"] = [one for one in done.record["values"] if one["name"] not in names] + results["values"]
    if results["result"] is not None:
        done.record["result"] = results["result"]
