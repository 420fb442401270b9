"""Notification of alarms, beside the flow: from an alarm to a message, apart from the gateway's work.

alarms ─▶ outbox ─▶ message ─▶ courier ─▶ delivery (a process of its own) ─▶ mail server, webhook, ...
          bounded,  one for    back-off,  Apprise
          a target  all that   time-out
                    wait
"""
