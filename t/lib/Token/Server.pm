package Token::Server;

# An nginx with the module that a test starts, signals and stops itself: for
# several workers, reload, killed workers, binary upgrade.
#
#     my $nginx = Token::Server->new(
#         workers => 2,                # 1
#         main    => 'env X;',         # lines outside of http
#         http    => '...',            # lines of http
#         server  => '...',            # lines of the server
#         env     => { KEY => 'k' },   # added to the environment at the start
#         listen  => 'reuseport',      # more of the "listen" directive
#         connections => 4096,         # of a worker (1024)
#         user    => 'nobody',         # of the workers, if root starts it (root)
#     );
#     $nginx->start;
#     $nginx->get('/token');           # as HTTP::Tiny: {status, headers, content},
#                                      # and the times "sent" and "received"
#     $nginx->raw("GET /token ...");   # all bytes until nginx closes
#     $nginx->configure(server => '...'); $nginx->reload;
#     kill KILL => ($nginx->workers)[0];
#     $nginx->upgrade;                 # USR2, and QUIT for the old master
#     $nginx->error_log;               # its text so far, level debug
#     $nginx->stop;
#
# @DIR@ in the lines stands for the server's directory.

use strict;
use warnings;

use HTTP::Tiny;
use IO::Socket::INET;
use Scalar::Util qw(weaken);
use Time::HiRes qw(time);
use Token::Util qw($NGINX $MODULE free_port work_dir wait_for slurp
    slurp_or_empty spew);


# Seconds. With sanitizers, nginx needs six to read the authorities of the
# system, and more on a busy machine.
my $PATIENCE = 60;

# Those that a test has left running, stopped before their directories go.
my @servers;

END { local $?; $_ && $_->stop for @servers }


sub new {
    my ($class, %options) = @_;
    my $self = bless {
        workers => 1, main => '', http => '', server => '', env => {},
        log_level => 'debug', listen => '', connections => 1024,
        user => 'root',
        port => free_port(), dir => work_dir(),
        owner => $$,
    }, $class;

    weaken($servers[@servers] = $self);
    mkdir "$self->{dir}/$_" for qw(conf html logs);
    $self->configure(%options);
    return $self;
}


sub dir { $_[0]{dir} }
sub port { $_[0]{port} }
sub url { "http://127.0.0.1:$_[0]{port}$_[1]" }
sub pid { slurp_or_empty("$_[0]{dir}/logs/nginx.pid") =~ /(\d+)/ ? $1 : undef }
sub error_log { slurp("$_[0]{dir}/logs/error.log") }
sub access_log { slurp("$_[0]{dir}/logs/access.log") }


sub configure {
    my ($self, %options) = @_;

    $self->{$_} = $options{$_} for keys %options;

    my $user = $> == 0 ? "user $self->{user};" : '';
    my $temp = join ' ', map { "$_\_temp_path $self->{dir}/$_;" }
        qw(client_body proxy fastcgi uwsgi scgi);

    my $text = <<"END";
load_module $MODULE;
worker_processes $self->{workers};
pid $self->{dir}/logs/nginx.pid;
error_log $self->{dir}/logs/error.log $self->{log_level};
$user
$self->{main}
events { worker_connections $self->{connections}; }
http {
    access_log $self->{dir}/logs/access.log;
    $temp
    $self->{http}
    server {
        listen 127.0.0.1:$self->{port} $self->{listen};
        root $self->{dir}/html;
        $self->{server}
    }
}
END

    spew("$self->{dir}/conf/nginx.conf", $text =~ s/\@DIR\@/$self->{dir}/gr);
    return $self;
}


# nginx with more arguments: its exit status, and what it wrote.
sub nginx {
    my ($self, @arguments) = @_;
    local @ENV{ keys %{ $self->{env} } } = values %{ $self->{env} };

    my $command = join ' ', map { "'$_'" } $NGINX, '-e',
        "$self->{dir}/logs/error.log", '-p', $self->{dir}, '-c',
        "$self->{dir}/conf/nginx.conf", @arguments;
    my $output = `$command 2>&1`;

    return ($? >> 8, $output);
}


sub test { $_[0]->nginx('-t') }


sub start {
    my ($self) = @_;
    my ($status, $output) = $self->nginx;

    die "nginx did not start: $output\n" if $status;
    wait_for { $self->pid && $self->workers >= $self->{workers} } $PATIENCE
        or die "nginx has no workers\n";
    return $self;
}


# The workers of a master (this server's), without those that are leaving.
# Under valgrind a process has no title that says what it is.
sub workers {
    my ($self, $master) = @_;
    my @workers;

    $master //= $self->pid // return;

    for (split ' ', slurp_or_empty("/proc/$master/task/$master/children")) {
        my $title = slurp_or_empty("/proc/$_/cmdline");

        push @workers, $_ if $title =~ /valgrind|worker process(?! is)/;
    }

    return @workers;
}


# All workers are new ones after it, and the old ones have gone or will go.
sub reload {
    my ($self) = @_;
    my %old = map { $_ => 1 } $self->workers;

    kill HUP => $self->pid;

    wait_for {
        my @now = $self->workers;
        @now >= $self->{workers} && !grep { $old{$_} } @now;
    } $PATIENCE or die "nginx has not reloaded\n";

    return $self;
}


# Another nginx takes over the sockets, and the first one ends.
sub upgrade {
    my ($self) = @_;
    my $old = $self->pid;

    kill USR2 => $old;

    wait_for { my $pid = $self->pid; $pid && $pid != $old && $self->workers }
        $PATIENCE or die "there is no new nginx\n";

    kill QUIT => $old;
    wait_for { !alive($old) } $PATIENCE or die "the old nginx stays\n";
    return $self;
}


sub stop {
    my ($self, $signal) = @_;
    my $pid = $self->pid;

    if ($pid && $self->{owner} == $$) {
        kill $signal // 'TERM', $pid;
        wait_for { !alive($pid) } 10 or kill KILL => $pid;
        note_crashes($self);
    }

    return;
}


# For scripts/prove.sh: workers that ended by a signal that no test sends.
sub note_crashes {
    my ($self) = @_;

    open my $note, '>>', $ENV{TEST_CRASHES} // return or return;
    open my $log, '<', "$self->{dir}/logs/error.log" or return;

    while (defined(my $line = <$log>)) {
        print $note "$0: $line" if $line =~ /exited on signal (?:4|6|7|8|11)\b/;
    }

    return;
}


sub DESTROY { local ($?, $!); $_[0]->stop }


# A process that has ended and is not yet waited for is not alive.
sub alive {
    my ($pid) = @_;

    return kill(0, $pid) && slurp_or_empty("/proc/$pid/stat") !~ /\) Z /;
}


sub get { my ($self, $path, %headers) = @_;
    return $self->request(GET => $path, \%headers) }


sub request {
    my ($self, $method, $path, $headers, $content) = @_;
    my $client = HTTP::Tiny->new(timeout => 10, max_redirect => 0);

    my $sent = time;
    my $response = $client->request($method, $self->url($path),
        { headers => $headers // {}, content => $content });

    return { %$response, sent => $sent, received => time };
}


sub connect {
    my ($self) = @_;

    return IO::Socket::INET->new(PeerAddr => '127.0.0.1',
        PeerPort => $self->{port}, Proto => 'tcp', Timeout => 10)
        // die "cannot connect: $!\n";
}


sub raw {
    my ($self, $bytes) = @_;
    my $socket = $self->connect;
    my $answer = '';

    print $socket $bytes;
    $socket->flush;

    local $SIG{ALRM} = sub { die "no answer\n" };
    alarm 10;
    1 while sysread $socket, $answer, 65536, length $answer;
    alarm 0;

    return $answer;
}

1;
