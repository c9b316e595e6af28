package Token::Loop;

# Plays many scripts (Token::Shapes) against nginx at once, from one process,
# and judges what comes back.
#
#     my $loop = Token::Loop->new(port => 8080, tls_port => 8443);
#     $loop->run(\@scripts, width => 250, tick => sub { ... });
#     $_->{wrong};     # in a script, after it: what was wrong, or undef
#
# A script that is "disturbed", by a signal to nginx, may end without answers;
# so may those that begin while the loop is "disturbed". While it is "full", none
# begin.
# "width" is how many are played at once; "tick" is called some times a second,
# and ends the run if it returns true: scripts that are being played then have
# "cut" set. $loop->{playing} are those. A script has 5 seconds for each step
# that waits for nginx.
#
# A script may bring a client of its own, of another protocol: "open" is a
# function that makes it, with the methods socket, wants_write and step (of
# Token::Http2; false when the connection has ended), and "play" one that is
# called with script, client and whether it has ended after each step, and some
# 50 times a second: it returns undef to go on, and in the end what was wrong,
# or ''.

use strict;
use warnings;

use Errno qw(EAGAIN EWOULDBLOCK EINTR EINPROGRESS);
use IO::Handle;
use IO::Socket::SSL ();
use Socket qw(PF_INET SOCK_STREAM SOL_SOCKET SO_LINGER SO_RCVBUF SO_ERROR
    IPPROTO_TCP TCP_NODELAY pack_sockaddr_in inet_aton);
use Time::HiRes qw(time);

my $PATIENCE = $ENV{CALLERS_PATIENCE} // 5;
my $address = inet_aton('127.0.0.1');


sub new {
    my ($class, %options) = @_;

    return bless { patience => $PATIENCE, %options, reads => '', writes => '',
        playing => {}, answers => 0, lag => 0 }, $class;
}


sub run {
    my ($self, $scripts, %options) = @_;
    my @queue = @$scripts;
    my $width = $options{width} // 250;
    my $playing = $self->{playing};
    my $next_tick = 0;

    delete $self->{turn};
    local $SIG{PIPE} = 'IGNORE';

    while (@queue || %$playing) {
        for (1 .. 10) {
            last if !@queue || keys %$playing >= $width || $self->{full};
            $self->begin(shift @queue);
        }

        my $now = time;
        my $wake = @queue && keys %$playing < $width && !$self->{full} ? $now : $now + 0.25;

        $self->{lag} = $now - $self->{turn}
            if $self->{turn} && $now - $self->{turn} > $self->{lag};
        $self->{turn} = $now;

        for my $one (values %$playing) {
            my $due = $one->{until} && $one->{until} < $one->{deadline}
                ? $one->{until} : $one->{deadline};

            $wake = $due if $due < $wake;
        }

        my $n = select my $readable = $self->{reads},
            my $writable = $self->{writes}, undef, $wake > $now ? $wake - $now : 0;

        if ($n > 0) {
            for my $fd (set($readable)) {
                my $one = $playing->{$fd} or next;
                $self->take($one);
                $self->go($one) if $playing->{$fd} && $playing->{$fd} == $one;
            }

            for my $fd (set($writable)) {
                my $one = $playing->{$fd} or next;
                $self->flush_out($one);
                $self->go($one) if $playing->{$fd} && $playing->{$fd} == $one;
            }
        }

        $now = time;

        for my $one (values %$playing) {
            if ($one->{until} && $one->{until} <= $now) {
                $self->go($one);

            } elsif ($one->{deadline} <= $now) {
                $self->over($one, late($one, $self->{patience}));
            }
        }

        next if $now < $next_tick;

        $next_tick = $now + 0.2;

        if ($options{tick} && $options{tick}->()) {
            for my $one (values %$playing) {
                $one->{script}{cut} = 1;
                $self->over($one);
            }

            return 0;
        }
    }

    return 1;
}


# The descriptors of a bit vector.
sub set {
    my ($vector) = @_;
    my $bits = unpack 'b*', $vector;
    my ($at, @set) = (-1);

    push @set, $at while ($at = index $bits, '1', $at + 1) >= 0;
    return @set;
}


sub begin {
    my ($self, $script) = @_;
    my $port = $script->{tls} ? $self->{tls_port} : $self->{port};

    $script->{disturbed} = 1 if $self->{disturbed};

    return $self->open($script) if $script->{open};

    socket my $socket, PF_INET, SOCK_STREAM, 0 or die "socket: $!\n";
    setsockopt $socket, SOL_SOCKET, SO_RCVBUF, 65536 if $script->{narrow};
    setsockopt $socket, IPPROTO_TCP, TCP_NODELAY, 1;

    if (!connect $socket, pack_sockaddr_in($port, $address)) {
        $script->{wrong} = "no connection: $!" if !$script->{disturbed};
        return;
    }

    my $raw = $socket;

    $socket->blocking(0);

    if ($script->{tls}) {
        # to make a context takes longer than a handshake
        $self->{context} //= IO::Socket::SSL::SSL_Context->new(
            SSL_verify_mode => IO::Socket::SSL::SSL_VERIFY_NONE());
        $socket = IO::Socket::SSL->start_SSL($socket, SSL_startHandshake => 0,
            SSL_reuse_ctx => $self->{context})
            or die 'TLS: ' . IO::Socket::SSL::errstr() . "\n";
    }

    my $fd = fileno $socket;
    my $one = {
        script => $script, socket => $socket, raw => $raw, fd => $fd, in => '',
        out => '', at => 0, got => 0, hundreds => 0,
    };

    $self->{playing}{$fd} = $one;
    vec($self->{reads}, $fd, 1) = 1;
    alive($self, $one);

    # company begins what the others wait for
    $one->{until} = time + $script->{after} if $script->{after};
    $one->{handshake} = 1 if $script->{tls};

    return $self->handshake($one) if $one->{handshake};
    return $self->connected($one);
}


sub open {
    my ($self, $script) = @_;
    my $client = $script->{open}->($script);
    my $socket = $client->socket;
    my $one = { script => $script, client => $client, socket => $socket,
        raw => $socket, fd => fileno $socket, in => '', out => '', got => 0 };

    $self->{playing}{ $one->{fd} } = $one;
    vec($self->{reads}, $one->{fd}, 1) = 1;
    return $self->step($one);
}


# As far as the handshake of TLS gets.
sub handshake {
    my ($self, $one) = @_;

    if ($one->{socket}->connect_SSL) {
        delete $one->{handshake};
        vec($self->{writes}, $one->{fd}, 1) = 0;
        return $self->connected($one);
    }

    my $error = $IO::Socket::SSL::SSL_ERROR;

    return vec($self->{writes}, $one->{fd}, 1) = 0
        if $error == IO::Socket::SSL::SSL_WANT_READ();
    return vec($self->{writes}, $one->{fd}, 1) = 1
        if $error == IO::Socket::SSL::SSL_WANT_WRITE();
    return $self->over($one, $one->{script}{disturbed} || $one->{script}{leaves}
        ? undef : "no TLS: $error");
}


sub connected {
    my ($self, $one) = @_;
    my $script = $one->{script};

    $self->go($one) if !$one->{until};
    return;
}


sub alive {
    my ($self, $one) = @_;

    # until there is a worker again
    $one->{deadline} = time + $self->{patience} * ($one->{script}{disturbed} ? 4 : 1);
    return;
}


# The next steps, as far as they need not wait.
sub go {
    my ($self, $one) = @_;
    my $script = $one->{script};

    return if $one->{handshake};

    return $self->step($one) if $one->{client};

    while (1) {
        if ($one->{until}) {
            return if $one->{until} > time;
            delete $one->{until};

            if (delete $one->{held}) {
                vec($self->{reads}, $one->{fd}, 1) = 1;
                alive($self, $one);
            }
        }

        return if length $one->{out} && !$one->{end};

        my $step = $script->{steps}[ $one->{at} ];

        return $self->finish($one) if !$step || $one->{end};

        my ($what, $value) = @$step;

        return if $what eq 'await' && $one->{got} < $value && !$one->{closing};
        return if $what eq 'hundred' && !$one->{hundreds} && !$one->{got};

        $one->{at}++;
        alive($self, $one);

        if ($what eq 'send') {
            $one->{out} .= $value;
            $self->flush_out($one);
            return if !$self->{playing}{ $one->{fd} };

        } elsif ($what eq 'pause') {
            $one->{until} = time + $value;

        } elsif ($what eq 'hold') {
            $one->{until} = time + $value;
            $one->{held} = 1;
            $one->{deadline} = $one->{until} + 1;
            vec($self->{reads}, $one->{fd}, 1) = 0;

        } elsif ($what eq 'half') {
            shutdown $one->{raw}, 1;

        } elsif ($what eq 'leave' || $what eq 'reset') {
            return $self->over($one, undef, $what);
        }
    }
}


# All steps are done, or nginx has closed.
sub finish {
    my ($self, $one) = @_;
    my $script = $one->{script};

    return $self->over($one) if $script->{leaves};

    if ($one->{end}) {
        my $missing = $one->{closing} ? undef : $script->{right}[ $one->{got} ];

        return $self->over($one) if !$missing || grep { $_->{none} } @$missing;
        return $self->over($one) if $one->{free} || $script->{disturbed};
        return $self->over($one, sprintf 'closed%s without answer %d%s',
            $one->{reset} ? ' by RST' : '', $one->{got} + 1,
            length $one->{in} ? ', in the middle of it' : '');
    }

    # after the last answer, if there is one, an end is due
    return if $one->{closing} || $one->{got} < @{ $script->{right} };

    return $self->over($one);
}


# Why it has taken so long.
sub late {
    my ($one, $patience) = @_;
    my $script = $one->{script};

    return undef if $script->{leaves};
    return 'it does not come to an end' if $one->{client};

    my $step = $script->{steps}[ $one->{at} ];

    return "the connection stays open behind the last answer" if $one->{closing};
    return 'no "100 Continue"' if $step && $step->[0] eq 'hundred';
    return 'nginx does not read on' if length $one->{out} && $one->{got};
    return sprintf 'no answer %d in %g s%s', $one->{got} + 1, $patience,
        length $one->{in} ? ', but for ' . length($one->{in}) . ' bytes' : '';
}


sub over {
    my ($self, $one, $wrong, $how) = @_;
    my $script = $one->{script};

    $script->{wrong} //= $wrong;
    $script->{ended} = time;

    setsockopt $one->{raw}, SOL_SOCKET, SO_LINGER, pack 'll', 1, 0
        if ($how // '') eq 'reset';

    vec($self->{reads}, $one->{fd}, 1) = 0;
    vec($self->{writes}, $one->{fd}, 1) = 0;
    delete $self->{playing}{ $one->{fd} };

    # of TLS, nothing is said on leaving
    if ($one->{client}) {
        # in the middle of a handshake, IO::Socket::SSL may refuse
        eval { $one->{client}->close };

    } elsif (ref $one->{socket} eq 'IO::Socket::SSL') {
        $one->{socket}->close(SSL_no_shutdown => 1);
    } else {
        close $one->{raw};
    }

    return;
}


sub flush_out {
    my ($self, $one) = @_;

    return $self->step($one) if $one->{client};
    return $self->handshake($one) if $one->{handshake};

    while (length $one->{out}) {
        my $n = $one->{socket}->syswrite($one->{out}, 16384);

        if (!defined $n) {
            if ($! == EAGAIN || $! == EWOULDBLOCK || $! == EINTR) {
                vec($self->{writes}, $one->{fd}, 1) = 1;
                return;
            }

            # what nginx has sent before can still be read
            $one->{out} = '';
            $one->{deaf} = 1;
            last;
        }

        alive($self, $one);
        substr $one->{out}, 0, $n, '';
    }

    vec($self->{writes}, $one->{fd}, 1) = 0;
    return;
}


sub take {
    my ($self, $one) = @_;

    return $self->step($one) if $one->{client};
    return $self->handshake($one) if $one->{handshake};

    while (1) {
        my $n = $one->{socket}->sysread(my $bytes, 65536);

        if (!defined $n) {
            return if $! == EAGAIN || $! == EWOULDBLOCK || $! == EINTR;
            $one->{reset} = 1;
        }

        if (!$n) {
            $one->{end} = 1;
            vec($self->{reads}, $one->{fd}, 1) = 0;
            $self->judge($one);
            return;
        }

        alive($self, $one);

        $one->{in} .= $bytes;
        $self->judge($one);
        return if !$self->{playing}{ $one->{fd} };
        return if $n < 65536 && !$one->{script}{tls};
    }
}


# A client of its own does what it can, and says whether it is done.
sub step {
    my ($self, $one) = @_;
    my ($client, $script) = @$one{qw(client script)};
    my $ended = !$client->step;

    # a large answer through a small window takes its time
    if (!$one->{deadline} || $client->{bytes} != $one->{bytes}) {
        $one->{bytes} = $client->{bytes};
        $one->{deadline} = time + 15;
    }

    my $said = $script->{play}->($script, $client, $ended);

    $one->{until} = time + 0.02;
    vec($self->{writes}, $one->{fd}, 1) = !$ended && $client->wants_write ? 1 : 0;
    vec($self->{reads}, $one->{fd}, 1) = $ended ? 0 : 1;

    return if !defined $said && !$ended;
    $said //= 'the connection has ended' if $ended;

    return $self->over($one, length $said ? $said : undef);
}


# Answers that are whole, compared with those that are right.
sub judge {
    my ($self, $one) = @_;
    my $script = $one->{script};

    while (length $one->{in}) {
        my $request = $script->{asked}[ $one->{got} ];
        my ($answer, $wrong) = answer(\$one->{in}, $request, $one->{end});

        return $self->over($one, $wrong) if $wrong;
        return if !$answer;

        if ($answer->{status} == 100) {
            $one->{hundreds}++;
            next;
        }

        $self->{answers}++;

        if ($script->{leaves}) {
            $one->{got}++;
            next;
        }

        return $self->over($one, "an answer that nobody asked for: $answer->{status}")
            if !$request || $one->{closing};

        my @right = @{ $script->{right}[ $one->{got} ] };
        my @wrong = map { differs($answer, $_, $request) } @right;

        # what it passed on went to a worker that was killed, or its own was,
        # in the middle of an answer without a length
        return $self->over($one) if $script->{disturbed}
            && ($answer->{status} >= 500 || $answer->{by_end})
            && !grep { $_ eq '' } @wrong;

        return $self->over($one, sprintf('answer %d: ', $one->{got} + 1)
            . join(', or ', unique(@wrong))) if !grep { $_ eq '' } @wrong;

        my ($is) = grep { $wrong[$_] eq '' } 0 .. $#right;

        my $last = $right[$is]{last};

        $one->{got}++;

        # it may go on, or not
        $one->{free} = 1 if !defined $last;
        next if !$last;

        $one->{closing} = 1
            if $last ne 'said' || ($answer->{headers}{connection} // '') eq 'close';
    }

    return;
}


sub unique { my %seen; return grep { !$seen{$_}++ } @_ }


sub differs {
    my ($answer, $right, $request) = @_;

    return "$answer->{status} where the connection was to be closed" if $right->{none};
    return "$answer->{status} instead of $right->{status}"
        . ($answer->{status} >= 400 ? ' (' . substr($answer->{body}, 0, 90) =~ s/\s+/ /gr . ')' : '')
        if $answer->{status} != $right->{status};

    my $n = $answer->{headers}{'x-n'};

    return '' if $right->{odd};
    return "the answer is that of \"$n\", not of \"$request->{n}\""
        if defined $n && $n ne $request->{n};
    return 'the answer has no X-N' if !defined $n && $answer->{status} < 400;
    return $right->{check} ? $right->{check}->($answer) : '';
}


# Takes one answer off the input: it, or what is wrong with it; or nothing yet.
sub answer {
    my ($in, $request, $end) = @_;
    my $head = index $$in, "\r\n\r\n";

    return (undef, 'that is no answer: ' . substr $$in, 0, 40)
        if length $$in > 13 && $$in !~ m{^HTTP/1\.1 \d\d\d[ \r]};
    return if $head < 0;

    my ($first, @lines) = split /\r\n/, substr $$in, 0, $head;
    my ($status) = $first =~ / (\d+)/;
    my %headers = map { lc $_->[0] => $_->[1] } map { [split /:\s*/, $_, 2] } @lines;
    my $at = $head + 4;
    my ($body, $size, $by_end) = ('', $at);

    if ($status == 100 || $status == 204 || $status == 304
        || ($request && $request->{method} eq 'HEAD'))
    {
        # no body

    } elsif (($headers{'transfer-encoding'} // '') eq 'chunked') {
        my $rest = substr $$in, $at;

        while (1) {
            $rest =~ s/^([0-9a-f]+)\r\n//i or return;
            my $length = hex $1;

            return if length $rest < $length + 2;
            $body .= substr $rest, 0, $length, '';
            substr $rest, 0, 2, '';
            last if !$length;
        }

        $size = length($$in) - length $rest;

    } elsif (defined $headers{'content-length'}) {
        $size = $at + $headers{'content-length'};
        return if length $$in < $size;
        $body = substr $$in, $at, $headers{'content-length'};

    } else {
        return if !$end;
        $body = substr $$in, $at;
        $size = length $$in;
        $by_end = 1;
    }

    substr $$in, 0, $size, '';
    return { status => $status, headers => \%headers, body => $body, by_end => $by_end };
}

1;
