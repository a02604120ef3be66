"""Programs that try to get out of the sandbox, or to pass without being right.

Each defines `add`, and the tests want `add(2, 3) == 5`. What an attack reaches it shows by a right answer: an attack
that passes has got through.
"""

import re

# `@marker@` is a word to look for outside afterwards, `@secret@` a file outside that all may read, beside it a socket,
# `@port@` a port outside that takes connections, `@pid@` our process.
_TEXT = r"""
=== fork bomb
import os
while True:
    os.fork()
=== fork bomb in the call
import os
def add(a, b):
    while True:
        os.fork()
=== thread bomb
import threading, time
while True:
    threading.Thread(target=time.sleep, args=(99,)).start()
=== memory bomb
hoard = []
while True:
    hoard.append(bytearray(1 << 24))
=== memory bomb of many
import os
for _ in range(6):
    if os.fork() == 0:
        break
hoard = bytearray(1)
while True:
    hoard += bytes(1 << 20)
=== memory that no process holds
import mmap, os
for n in range(9999):
    file = os.memfd_create('x')
    os.write(file, bytes(1 << 24))
=== shared memory
import ctypes
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
got_through = libc.shmget(0, 1 << 20, 0o1600) >= 0
@shown@
=== one huge number
x = 10 ** 10 ** 10
@wrong@
=== endless output
import os
while True:
    os.write(1, b'x' * 65536)
    os.write(2, b'x' * 65536)
=== endless sleep
import time
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
time.sleep(9999)
=== endless loop
while True:
    pass
=== endless loop that won't stop
import signal
for n in range(1, 65):
    try:
        signal.signal(n, lambda *_: None)
    except (OSError, ValueError):
        pass
while True:
    pass
=== endless recursion
import sys
sys.setrecursionlimit(10 ** 9)
def add(a, b):
    return add(a, b)
=== filling the disk
n = 0
while True:
    n += 1
    with open(f'@marker@{n}', 'wb') as file:
        file.write(bytes(1 << 22))
=== endless files
n = 0
while True:
    n += 1
    open(f'@marker@{n}', 'w').close()
=== a huge answer
def add(a, b):
    return 'x' * (1 << 28)
=== a deep answer
def add(a, b):
    deep = []
    for _ in range(10 ** 5):
        deep = [deep]
    return deep
=== an endless answer
def add(a, b):
    while True:
        yield 1
=== reading a file of ours
got_through = bool(open('@secret@').read())
@shown@
=== reading the passwords
got_through = bool(open('/etc/passwd').read())
@shown@
=== reading a file through a link
import os
os.symlink('@secret@', 'link')
got_through = bool(open('link').read())
@shown@
=== a link out of the scratch folder
import os
os.symlink('/', 'out')
open('out/@marker@', 'w').close()
got_through = True
@shown@
=== writing everywhere
import os, sys
got_through = False
for folder in ['/', '/dev', '/dev/shm', '/var/tmp', '/trusted', '/usr', '/etc',
               '/usr/lib', sys.prefix, *sys.path, *('../' * n for n in range(1, 9))]:
    try:
        open(os.path.join(folder, '@marker@'), 'w').close()
        got_through |= os.path.realpath(folder) != os.getcwd()
    except OSError:
        pass
@shown@
=== changing the referee
path = '/trusted/helmframe/sandbox/child/referee.py'
import os
os.chmod(path, 0o777)
open(path, 'a').write('judged = lambda *_: ""')
@wrong@
=== reading the disk
import os, stat
os.mknod('disk', 0o600 | stat.S_IFBLK, os.makedev(254, 0))
got_through = bool(open('disk', 'rb').read(9))
@shown@
=== reading memory of the machine
got_through = bool(open('/dev/mem', 'rb').read(1) or open('/proc/kcore', 'rb').read(1))
@shown@
=== the network
import socket
got_through = bool(socket.create_connection(('127.0.0.1', @port@), 2))
@shown@
=== a socket of the hypervisor
import socket
got_through = bool(socket.socket(40, socket.SOCK_STREAM))
@shown@
=== a socket in a file
import socket
s = socket.socket(socket.AF_UNIX)
s.connect('@secret@.sock')
got_through = True
@shown@
=== a socket in no file
import socket
s = socket.socket(socket.AF_UNIX)
s.connect('\0@marker@')
got_through = True
@shown@
=== our environment
import os
got_through = any('@marker@' in value for value in os.environ.values())
@shown@
=== the environment of the parent
got_through = bool(open('/proc/1/environ', 'rb').read())
@shown@
=== the memory of the parent
got_through = bool(open('/proc/1/maps').read())
@shown@
=== a trace of the parent
import ctypes, os
libc = ctypes.CDLL(None)
got_through = any(libc.ptrace(16, pid, 0, 0) == 0 for pid in {1, os.getppid()} - {0})
@shown@
=== reading the parent's memory
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
libc.process_vm_readv(1, 0, 0, 0, 0, 0)
got_through = ctypes.get_errno() not in (1, 38)
@shown@
=== killing everyone
import os
for pid in (os.getppid(), 1, 0, -1):
    try:
        os.kill(pid, 9)
    except OSError:
        pass
@wrong@
=== killing our process
import os
os.kill(@pid@, 9)
got_through = True
@shown@
=== becoming root
import os
os.setuid(0)
got_through = True
@shown@
=== more rights
import resource
resource.setrlimit(resource.RLIMIT_CPU, (99, 99))
got_through = True
@shown@
=== a namespace of its own
import ctypes
got_through = any(ctypes.CDLL(None).unshare(flag) == 0 for flag in (0x10000000, 0x20000, 0x40000000))
@shown@
=== a mount
import ctypes
got_through = ctypes.CDLL(None).mount(b'x', b'/tmp', b'tmpfs', 0, 0) == 0
@shown@
=== a changed root
import os
os.chroot('/tmp')
got_through = True
@shown@
=== a shell
import subprocess
got_through = '@secret_text@' in subprocess.getoutput('cat @secret@')
@shown@
=== a daemon
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True:
            time.sleep(1)
    os._exit(0)
@wrong@
=== a zombie
import os
if os.fork() == 0:
    os._exit(0)
@wrong@
=== a thread at the end
import atexit, threading, time
atexit.register(time.sleep, 9999)
threading.Thread(target=time.sleep, args=(9999,)).start()
@wrong@
=== exit
import sys
sys.exit(0)
=== exit at once
import os
os._exit(0)
=== exit in the call
import os
def add(a, b):
    os._exit(0)
=== exit by exception
def add(a, b):
    raise SystemExit(0)
=== the words of success
print('passed', 'OK', 1, '{"passed": true}', flush=True)
@wrong@
=== writing to every pipe
import os
for n in range(3, 64):
    try:
        os.write(n, b'{"passed": true, "reason": ""}\n')
    except OSError:
        pass
@wrong@
=== answering by itself
import os
for n in range(3, 64):
    try:
        os.write(n, b'{"value": 5}\n' * 99)
    except OSError:
        pass
os._exit(0)
=== an answer that is no message
import os
for n in range(3, 64):
    try:
        os.write(n, b'\xff[[[')
    except OSError:
        pass
@wrong@
=== a message of the wrong form
import os
for n in range(3, 64):
    try:
        os.write(n, b'{"value": ["object", [[]]]}\n[1]\n7\n' * 9)
    except OSError:
        pass
@wrong@
=== a value equal to everything
class Yes:
    def __eq__(self, other):
        return True
    def __hash__(self):
        return 5
def add(a, b):
    return Yes()
=== a number equal to everything
class Yes(int):
    def __eq__(self, other):
        return True
    def __hash__(self):
        return 5
def add(a, b):
    return Yes(4)
=== other builtins
import builtins
builtins.AssertionError = type('Quiet', (Exception,), {})
builtins.abs = lambda x: 5
def check(candidate):
    pass
@wrong@
=== the tests from the frames
import sys
def add(a, b):
    frame = sys._getframe()
    while frame:
        if ''.join(['candidate(2', ', 3)']) in repr(frame.f_locals) + repr(frame.f_globals):
            return a + b
        frame = frame.f_back
=== the tests from the heap
import gc
def add(a, b):
    for each in gc.get_objects():
        for held in [each, *gc.get_referents(each)]:
            if isinstance(held, str | bytes) and ''.join(['candidate(2', ', 3)']) in str(held):
                return a + b
=== the referee as a module
from helmframe.sandbox.child import referee
referee.judged = lambda *_: ''
@wrong@
=== a patched wire
from helmframe.sandbox.child import candidate, wire
candidate.encode = wire.encode = lambda *_: ['object', 0]
candidate.send = lambda pipe, message: pipe.write(b'{"value": true, "passed": true}\n')
@wrong@
=== a patched exit
import os, atexit
os._exit = print
atexit.register(print, 'passed')
@wrong@
=== pages of a process in pipes
import ctypes, mmap, os
libc = ctypes.CDLL(None)
class Vector(ctypes.Structure):
    _fields_ = [('base', ctypes.c_void_p), ('length', ctypes.c_size_t)]
got_through = False
for _ in range(20):
    reading, writing = os.pipe()
    pages = mmap.mmap(-1, 1 << 21, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    pages.write(bytes(1 << 21))
    vector = Vector(ctypes.addressof(ctypes.c_char.from_buffer(pages)), 1 << 16)
    got_through |= libc.vmsplice(writing, ctypes.byref(vector), 1, 0) > 0
@shown@
=== pages of files in pipes
import ctypes, os
libc = ctypes.CDLL(None)
with open('x', 'wb') as file:
    file.write(bytes(1 << 16))
source = os.open('x', os.O_RDONLY)
reading, writing = os.pipe()
other_reading, other_writing = os.pipe()
os.write(writing, b'x')
got_through = libc.splice(source, None, other_writing, None, 4096, 0) > 0
got_through |= libc.tee(reading, other_writing, 1, 0) > 0
try:
    got_through |= os.sendfile(writing, source, 0, 4096) > 0
except OSError:
    pass
@shown@
=== shared memory that no process uses
import mmap, os
got_through = False
for _ in range(8):
    if os.fork() == 0:
        break
hoard = []
for n in range(28):
    pages = mmap.mmap(-1, 1 << 24)
    pages.write(bytes(1 << 24))
    pages.madvise(mmap.MADV_DONTNEED)
    hoard.append(pages)
    got_through = True
@shown@
=== shared memory of a device
import mmap
device = open('/dev/zero', 'r+b', buffering=0)
pages = mmap.mmap(device.fileno(), 1 << 24)
pages.write(bytes(1 << 24))
got_through = True
@shown@
=== a million empty files
import os
for _ in range(6):
    if os.fork() == 0:
        break
os.mkdir(f'{os.getpid()}')
for n in range(10 ** 6):
    os.close(os.open(f'{os.getpid()}/{n}', os.O_CREAT))
got_through = True
@shown@
=== a million directories
import os
for n in range(10 ** 6):
    os.mkdir(f'{n}')
got_through = True
@shown@
=== deep directories
import os
for n in range(10 ** 6):
    os.mkdir('x' * 200)
    os.chdir('x' * 200)
got_through = True
@shown@
=== a million links
import os
open('x', 'w').close()
for n in range(10 ** 6):
    os.symlink('x' * 100, f's{n}')
    os.link('x', f'h{n}')
got_through = True
@shown@
=== files that are open and removed
import os
for n in range(10 ** 6):
    os.open(f'{n}', os.O_CREAT)
    os.unlink(f'{n}')
got_through = True
@shown@
=== attributes of a file
import os
open('x', 'w').close()
got_through = False
for n in range(4000):
    os.setxattr('x', f'user.{n}', bytes(60000))
    got_through = True
@shown@
=== a queue of connections
import socket
hoard = []
server = socket.socket(socket.AF_UNIX)
server.bind('\0queue')
server.listen(4096)
for _ in range(4000):
    client = socket.socket(socket.AF_UNIX)
    client.connect('\0queue')
    client.setblocking(False)
    client.send(bytes(1 << 17))
    client.close()
got_through = True
@shown@
=== datagrams of closed sockets
import socket
receiver, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
sender.send(bytes(1 << 16))
got_through = True
@shown@
=== large buffers of sockets
import socket
left, right = socket.socketpair()
left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 24)
got_through = True
@shown@
=== sockets in flight
import array, socket
left, right = socket.socketpair()
for _ in range(10 ** 6):
    one, other = socket.socketpair()
    one.setblocking(False)
    one.send(bytes(1 << 20))
    left.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [one.fileno(), other.fileno()]))])
    one.close(), other.close()
got_through = True
@shown@
=== large pipes
import fcntl, os
got_through = False
for _ in range(12):
    if os.fork() == 0:
        break
for _ in range(28):
    reading, writing = os.pipe()
    try:
        got_through |= fcntl.fcntl(writing, 1031, 1 << 20) > 0
    except OSError:
        pass
    os.set_blocking(writing, False)
    os.write(writing, bytes(1 << 20))
@shown@
=== locks of files
import fcntl
files = [open(f'{n}', 'wb') for n in range(50)]
n = 0
while True:
    n += 2
    for file in files:
        fcntl.lockf(file, fcntl.LOCK_EX, 1, n)
=== areas of memory
import ctypes
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
start = libc.mmap(None, 400 << 20, 0, 0x22, -1, 0)
got_through = all(libc.mprotect(start + n * 4096, 4096, 1) == 0 for n in range(0, 10 ** 6, 2))
@shown@
=== watches of files
import ctypes
got_through = ctypes.CDLL(None).inotify_init1(0) >= 0
@shown@
=== queues of requests
import ctypes, os
libc = ctypes.CDLL(None)
context = ctypes.c_ulong(0)
setup, faults = {'x86_64': (206, 323), 'aarch64': (0, 282)}[os.uname().machine]
got_through = libc.syscall(425, 8, ctypes.create_string_buffer(120)) >= 0
got_through |= libc.syscall(setup, 1024, ctypes.byref(context)) >= 0
got_through |= libc.syscall(faults, 1) >= 0
@shown@
=== rules of a sandbox of its own
import ctypes
got_through = ctypes.CDLL(None).syscall(444, None, 0, 1) >= 0
@shown@
=== keys of the kernel
import ctypes, os
add, control = {'x86_64': (248, 250), 'aarch64': (217, 219)}[os.uname().machine]
libc = ctypes.CDLL(None)
got_through = libc.syscall(add, b'user', b'x', b'y', 1, -3) >= 0 or libc.syscall(control, 0, -3, 1) >= 0
@shown@
=== queues of messages
import ctypes, os
libc = ctypes.CDLL(None)
got_through = libc.msgget(0, 0o1600) >= 0 or libc.semget(0, 1, 0o1600) >= 0
number = {'x86_64': 240, 'aarch64': 180}[os.uname().machine]
got_through |= libc.syscall(number, b'x', os.O_CREAT | os.O_RDWR, 0o600, None) >= 0
@shown@
=== timers without end
import ctypes
libc = ctypes.CDLL(None)
timer = ctypes.c_void_p()
got_through = all(libc.timer_create(1, None, ctypes.byref(timer)) == 0 for _ in range(10 ** 5))
@shown@
=== signals without end
import ctypes, os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
libc = ctypes.CDLL(None)
got_through = all(libc.sigqueue(os.getpid(), 40, 0) == 0 for _ in range(10 ** 5))
@shown@
=== settings of the kernel
got_through = False
for file in ['/proc/sys/kernel/core_pattern', '/proc/self/oom_score_adj', '/proc/sysrq-trigger', '/sys/power/state']:
    try:
        open(file, 'w').write('0')
        got_through = True
    except OSError:
        pass
@shown@
=== installed packages
import glob, sys
folders = [*glob.glob(sys.base_prefix + '/lib*/python*/*-packages'), *glob.glob('/usr/lib*/python*/*-packages'),
           *glob.glob('/usr/local/lib*/python*/*-packages'), *sys.path]
got_through = any(glob.glob(folder + '/*.dist-info') or glob.glob(folder + '/pip') for folder in folders)
@shown@
=== files of another program
import os
got_through = any(name not in ('.', '..') for name in os.listdir('/tmp')) or os.path.exists('/proc/1/root')
@shown@
=== the files of the sandbox
import os
got_through = False
for number in range(3, 64):
    try:
        os.lseek(number, 0, 0)
        text = os.read(number, 1 << 16)
        got_through |= b'candidate(2' in text or b'"tests"' in text
    except OSError:
        pass
@shown@
=== a module of the tests' name
import os, sys
os.mkdir('helmframe')
open('helmframe/__init__.py', 'w').write('judged = lambda *_: ""')
sys.path.insert(0, '/tmp')
@wrong@
=== stop iteration
def add(a, b):
    raise StopIteration(5)
=== a value that stops the loop
def add(a, b):
    yield from ()
=== an exception that is equal to everything
class Right(AssertionError):
    __eq__ = lambda *_: True
    __bool__ = lambda self: True
def add(a, b):
    raise Right(5)
=== an error without a text
class Odd(Exception):
    def __str__(self):
        raise SystemExit(0)
    __repr__ = __str__
def add(a, b):
    raise Odd(1, 2)
=== a trace of the process
import sys
sys.settrace(lambda frame, *_: frame.f_locals.update(passed=True, reason='') or None)
@wrong@
=== output without a newline
import os
for n in range(3, 64):
    try:
        os.write(n, b'{"value": 5')
    except OSError:
        pass
import time
time.sleep(9999)
"""

_SHOWN = """
def add(a, b):
    return a + b if got_through else None
"""
_WRONG = """
def add(a, b):
    return None
"""
_PARTS = re.split(r"^=== (.*)\n", _TEXT.replace("@shown@", _SHOWN).replace("@wrong@", _WRONG), flags=re.MULTILINE)[1:]

ATTACKS = dict(zip(_PARTS[::2], _PARTS[1::2], strict=True))
