"""A strict Telegram Bot API: true sliding windows, faults on demand, and a ledger of what it executed and when.

It judges everything else here, so it imports nothing of ours. server.py listens, bot_api.py carries each call through
its life, refusals.py and windows.py refuse, ledger.py remembers; replies.py (with contents.py, files.py, results.py)
shapes what comes back, updates.py hands out what users did. faults.py breaks things by rules: match.py says which
calls, effects.py (with floods.py, chats.py, uploads.py, moving_limit.py) what happens to them. thread.py and
fixture.py bring all of it into a test.
"""
