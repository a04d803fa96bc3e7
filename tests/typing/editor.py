"""What an editor shows of a program: the questions that VS Code asks of pyright's server."""

import json
import subprocess
import sys


class Editor:
    """A server that has one file open, which is nowhere on the disk."""

    def __init__(self, folder, text):
        command = [sys.executable, "-m", "pyright.langserver", "--stdio"]
        self.server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.file, self.asked = {"uri": (folder / "open.py").as_uri()}, 0
        workspace = [{"uri": folder.as_uri(), "name": folder.name}]
        self.ask("initialize", processId=None, capabilities={}, workspaceFolders=workspace)
        self.say("initialized")
        opened = {**self.file, "languageId": "python", "version": 1, "text": text}
        self.say("textDocument/didOpen", textDocument=opened)

    def say(self, method, **params):
        self._send(method=method, params=params)

    def ask(self, method, **params):
        """The answer to a question; the server's own are answered with nothing."""
        self.asked += 1
        self._send(id=self.asked, method=method, params=params)
        while True:
            got = self._receive()
            if "method" not in got and got.get("id") == self.asked:
                return got["result"]
            if "method" in got and "id" in got:
                many = len(got["params"].get("items", [])) if got.get("params") else 0
                self._send(id=got["id"], result=[None] * many)

    def at(self, question, line, character):
        place = {"line": line, "character": character}
        return self.ask(f"textDocument/{question}", textDocument=self.file, position=place)

    def close(self):
        self.server.kill()
        self.server.communicate()

    def _send(self, **message):
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.server.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.server.stdin.flush()

    def _receive(self):
        length = 0
        while line := self.server.stdout.readline().strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        if not length:
            raise RuntimeError("pyright's server has ended")
        return json.loads(self.server.stdout.read(length))
