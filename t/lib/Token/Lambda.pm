package Token::Lambda;

# An instance of a Lambda function: a zip, unpacked, runs in a sandbox with a
# read-only root and as a user without rights, against a Runtime API that the
# test plays. It is bubblewrap's sandbox, which has nothing but the zip.
#
#     my $lambda = Token::Lambda->new($folder,        # what was unpacked
#         env  => { TOKEN_ENDPOINT => '...' },        # of the function
#         bind => ['/usr'],                           # to be seen in there
#         conf => $file,                              # another nginx.conf
#     );
#     $lambda->idle or die;             # it has asked for the first event
#     my $got = $lambda->invoke($event);
#     $got->{kind};                     # "response" or "error"
#     $got->{body};  $got->{json};      # bytes; decoded
#     $got->{seconds};                  # until it came
#     $lambda->idle;                    # it has asked for the next one
#     $lambda->freeze; $lambda->thaw;   # all of its processes
#     $lambda->pids('worker');          # those whose title matches
#     $lambda->ended;                   # its exit status, when it has one
#     $lambda->log;                     # what it has written
#
# An event is a hash or bytes. Options of invoke(): "milliseconds" until the
# deadline (10000), chunked => 1, id => the request's id, answer => the status
# with which the result is taken (202).

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use JSON::PP qw(decode_json encode_json);
use POSIX ();
use Scalar::Util qw(weaken);
use Time::HiRes qw(time);
use Token::Util qw(slurp_or_empty wait_for work_dir);


my @instances;
my $number = 0;

END { local $?; $_ && $_->stop for @instances }


# Whether bubblewrap can make a sandbox on this machine.
sub possible {
    return system('bwrap --unshare-user --unshare-pid --ro-bind / / --proc /proc'
        . ' --dev /dev true > /dev/null 2>&1') == 0;
}


sub new {
    my ($class, $folder, %options) = @_;
    my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Proto => 'tcp',
        Listen => 16) // die "runtime: $!\n";
    my $self = bless { listen => $listen, owner => $$, seen => [],
        log => work_dir() . '/log' }, $class;

    weaken($instances[@instances] = $self);

    # as Lambda sets them
    my %env = (
        AWS_LAMBDA_RUNTIME_API => '127.0.0.1:' . $listen->sockport,
        LAMBDA_TASK_ROOT => '/var/task', PATH => '/usr/bin:/bin',
        LD_LIBRARY_PATH => '/lib64:/usr/lib64:/var/task:/var/task/lib',
        AWS_REGION => 'eu-west-1', TZ => ':UTC', %{ $options{env} // {} },
    );
    my @bind = map { ('--ro-bind', $_, $_) } @{ $options{bind} // [] };

    push @bind, '--symlink', 'usr/lib', '/lib', '--symlink', 'usr/lib64',
        '/lib64' if @bind;

    my @command = (qw(bwrap --unshare-user --uid 993 --gid 990 --unshare-pid
        --unshare-ipc --unshare-uts --cap-drop ALL --die-with-parent --clearenv),
        '--ro-bind', $folder, '/var/task', @bind,
        ($options{conf} ? ('--ro-bind', $options{conf}, '/var/task/nginx.conf') : ()),
        qw(--proc /proc --dev /dev --tmpfs /tmp --chdir /var/task
        --remount-ro /), (map { ('--setenv', $_, $env{$_}) } sort keys %env),
        '/var/task/bootstrap');

    $self->{started} = time;
    $self->{pid} = fork // die "fork: $!\n";

    if ($self->{pid} == 0) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', $self->{log};
        open STDERR, '>&', \*STDOUT;
        { no warnings 'exec'; exec @command }
        POSIX::_exit(127);
    }

    return $self;
}


sub log { slurp_or_empty($_[0]{log}) }


# Takes the next request of the bootstrap's: {method, path, headers, body}.
sub take {
    my ($self, $seconds) = @_;
    my $end = time + ($seconds // 10);

    until (IO::Select->new($self->{listen})->can_read(0.05)) {
        return if time > $end || defined $self->ended;
    }

    my $socket = $self->{listen}->accept // return;
    my $bytes = '';

    while (1) {
        my ($head, $body) = split /\r\n\r\n/, $bytes, 2;

        if (defined $body) {
            my ($length) = $head =~ /^Content-Length: (\d+)/mi;

            if (length $body >= ($length // 0)) {
                my ($method, $path) = $head =~ /^(\S+) (\S+)/;
                my $request = { method => $method, path => $path, body => $body,
                    head => $head, socket => $socket, at => time };

                push @{ $self->{seen} }, "$method $path";
                return $request;
            }
        }

        IO::Select->new($socket)->can_read(10) or return;
        sysread $socket, $bytes, 1 << 20, length $bytes or return;
    }
}


# True when the bootstrap waits for an event: Lambda would freeze it now.
sub idle {
    my ($self, $seconds) = @_;

    return $self->{next} if $self->{next};

    my $request = $self->take($seconds) // return;

    die "not the next event, but $request->{method} $request->{path}\n"
        if $request->{path} ne '/2018-06-01/runtime/invocation/next';

    return $self->{next} = $request;
}


# Whatever the bootstrap asks in place of an event: an error at the start.
sub init_error {
    my ($self) = @_;
    my $request = $self->take // return;

    reply($request->{socket}, 202, '{"status":"OK"}');
    return { %$request, json => eval { decode_json($request->{body}) } };
}


sub invoke {
    my ($self, $event, %options) = @_;
    my $id = $options{id} // sprintf '8476a536-e9f4-11e8-9739-%012d', ++$number;
    my $next = $self->idle // die "it waits for no event\n";
    my $bytes = ref $event ? encode_json($event) : $event;
    my $sent = time;

    delete $self->{next};
    reply($next->{socket}, 200, $bytes,
        'Lambda-Runtime-Aws-Request-Id' => $id,
        'Lambda-Runtime-Deadline-Ms' => int(1000 * time)
            + ($options{milliseconds} // 10_000),
        'Lambda-Runtime-Trace-Id' => 'Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700',
        $options{chunked} ? ('Transfer-Encoding' => 'chunked') : ());

    my $request = $self->take // return;
    my ($for, $kind) = $request->{path}
        =~ m{^/2018-06-01/runtime/invocation/([^/]+)/(response|error)$};

    die "a result for no event: $request->{path}\n" if ($for // '') ne $id;

    reply($request->{socket}, $options{answer} // 202, '{"status":"OK"}');

    return { kind => $kind, body => $request->{body},
        seconds => $request->{at} - $sent, at => $request->{at},
        head => $request->{head},
        json => eval { decode_json($request->{body}) } };
}


sub reply {
    my ($socket, $status, $body, %headers) = @_;
    my $chunked = $headers{'Transfer-Encoding'};

    $body = join '', (map { sprintf "%x\r\n%s\r\n", length, $_ }
        unpack '(a1000)*', $body), "0\r\n\r\n" if $chunked;
    $headers{'Content-Length'} = length $body if !$chunked;

    my $bytes = join '', "HTTP/1.1 $status Status\r\n",
        (map { "$_: $headers{$_}\r\n" } sort keys %headers), "\r\n", $body;

    local $SIG{PIPE} = 'IGNORE';

    while (length $bytes) {
        my $n = syswrite $socket, $bytes, 1 << 16;

        last if !$n;
        substr $bytes, 0, $n, '';
    }

    close $socket;
    return;
}


# All processes below bubblewrap.
sub pids {
    my ($self, $title) = @_;
    my @found;
    my @look = $self->{pid};

    while (defined(my $pid = shift @look)) {
        my @children = map { split ' ', slurp_or_empty($_) }
            glob "/proc/$pid/task/*/children";

        push @look, @children;
        push @found, @children;
    }

    return grep { !defined $title
        || slurp_or_empty("/proc/$_/cmdline") =~ /$title/ } @found;
}


sub freeze {
    my ($self) = @_;

    $self->{frozen} = [$self->pids];
    kill STOP => @{ $self->{frozen} };
    return scalar @{ $self->{frozen} };
}


sub thaw {
    my ($self) = @_;

    kill CONT => reverse @{ delete $self->{frozen} // [] };
    return;
}


sub ended {
    my ($self) = @_;

    if ($self->{pid} && waitpid($self->{pid}, POSIX::WNOHANG) == $self->{pid}) {
        $self->{pid} = 0;
        $self->{status} = $? >> 8;
    }

    return $self->{status};
}


sub stop {
    my ($self) = @_;

    if ($self->{pid} && $self->{owner} == $$) {
        local ($?, $!);

        $self->thaw;
        kill KILL => $self->{pid};
        waitpid $self->{pid}, 0;
        $self->{pid} = 0;
    }

    return;
}


sub DESTROY { local ($?, $!); $_[0]->stop }


# Events, as API Gateway makes them; more members go into the event itself.

# Payload format 1.0, of a REST API.
sub rest {
    my ($method, $path, $headers, %more) = @_;

    return {
        resource => '/token', path => $path, httpMethod => $method,
        headers => { map { $_ => ref $headers->{$_} ? $headers->{$_}[-1]
            : $headers->{$_} } keys %$headers },
        multiValueHeaders => { map { $_ => ref $headers->{$_} ? $headers->{$_}
            : [$headers->{$_}] } keys %$headers },
        queryStringParameters => undef, multiValueQueryStringParameters => undef,
        pathParameters => undef, stageVariables => undef,
        requestContext => { resourceId => 'abc123', resourcePath => '/token',
            httpMethod => $method, path => "/prod$path", stage => 'prod',
            protocol => 'HTTP/1.1', domainName => 'x.execute-api.example.com',
            identity => { sourceIp => '203.0.113.7', userAgent => 'test' } },
        body => undef, isBase64Encoded => JSON::PP::false, %more,
    };
}


# Payload format 2.0, of an HTTP API and of a Function URL.
sub http {
    my ($method, $path, $headers, %more) = @_;

    return {
        version => '2.0', routeKey => '$default', rawPath => $path,
        rawQueryString => '', isBase64Encoded => JSON::PP::false,
        headers => { map { $_ => ref $headers->{$_}
            ? join ',', @{ $headers->{$_} } : $headers->{$_} } keys %$headers },
        requestContext => { stage => '$default', requestId => 'id',
            domainName => 'x.lambda-url.example.com',
            http => { method => $method, path => $path, protocol => 'HTTP/1.1',
                sourceIp => '203.0.113.7', userAgent => 'test' } },
        %more,
    };
}

1;
