"""Ansible's standard output as JSON lines, one per event, for xdc_testbed.testbed.ansible. Runs inside Ansible."""

from __future__ import annotations

import ctypes
import json
import signal
import sys
import time

from ansible.plugins.callback import CallbackBase

_PR_SET_PDEATHSIG = 1

DOCUMENTATION = """
name: xdc_events
type: stdout
short_description: one JSON line per task result
description: Read by the kit's runner; results of tasks with no_log are never printed.
"""


class CallbackModule(CallbackBase):
    """Prints play, task, result and stats events."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "xdc_events"

    def __init__(self):
        super().__init__()
        self._started = {}

    def _say(self, **event):
        sys.stdout.write(json.dumps(event, default=str) + "\n")
        sys.stdout.flush()

    def v2_playbook_on_start(self, playbook):
        # When the command that started it is killed, nobody reads any more, and the next one finds its locks taken.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    def v2_playbook_on_play_start(self, play):
        self._say(event="play", name=play.get_name(), pattern=str(play.hosts))

    def v2_playbook_on_task_start(self, task, is_conditional):
        self._started[task._uuid] = time.time()
        self._say(event="task", name=task.get_name(), role=task._role.get_name() if task._role else None)

    v2_playbook_on_handler_task_start = lambda self, task: self.v2_playbook_on_task_start(task, False)  # noqa: E731

    def v2_playbook_on_no_hosts_matched(self):
        self._say(event="no-hosts")

    def _result(self, result, status):
        data = result._result
        event = {
            "event": "result",
            "host": result._host.get_name(),
            "status": status,
            "task": result._task.get_name(),
            "role": result._task._role.get_name() if result._task._role else None,
            "seconds": round(time.time() - self._started.get(result._task._uuid, time.time()), 3),
        }
        if status in ("failed", "unreachable"):
            event["message"] = self._message(data)
            event["where"] = str(result._task.get_path())
        if status == "changed" and not result._task.no_log and data.get("diff"):
            event["diff"] = str(data["diff"])[:2000]
        self._say(**event)

    @staticmethod
    def _message(data):
        if data.get("_ansible_no_log"):
            return "the task failed; its output holds secrets and is not shown"
        parts = [
            str(data.get(key)) for key in ("msg", "stderr", "stdout", "module_stderr", "exception") if data.get(key)
        ]
        for item in data.get("results", []):
            if isinstance(item, dict) and (item.get("failed") or item.get("unreachable")):
                parts += [str(item.get(key)) for key in ("msg", "stderr", "stdout") if item.get(key)]
        return "\n".join(parts)[:6000]

    def v2_runner_on_ok(self, result):
        self._result(result, "changed" if result._result.get("changed") else "ok")

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._result(result, "ok" if ignore_errors else "failed")

    def v2_runner_on_skipped(self, result):
        self._result(result, "skipped")

    def v2_runner_on_unreachable(self, result):
        self._result(result, "unreachable")

    def v2_playbook_on_stats(self, stats):
        self._say(event="stats", hosts={host: stats.summarize(host) for host in sorted(stats.processed)})
