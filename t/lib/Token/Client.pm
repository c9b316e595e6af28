package Token::Client;

# Many requests at once, from one process.
#
#     my $client = Token::Client->new($nginx->port);
#     my $one = $client->send('/token') for 1 .. 1000;   # a connection each
#     $client->leave($one);                # closes it
#     my @got = $client->receive(5);       # when all have come, or in 5 s
#
# A response is as HTTP::Tiny's, and has the times "sent" and "received"; its
# status is 0 if the connection was closed before it came, and undef if it has
# not come.
#
#     my $load = Token::Client->load($nginx->port, '/token',
#         processes => 4, seconds => 60);
#     ...
#     my $result = $load->stop;
#
# Processes that ask one request after the other, on connections that they
# keep. The result has "requests"; "failed" and "why", {reason => number};
# "failures", [when it was asked, when it had failed, reason] of each; "tokens",
# {access_token => number}; "slowest", in seconds, and "times", of all requests
# in order of duration. With close => 1 there is a connection for each
# request; gap => 0.01 is a pause in seconds after each; method => 'HEAD'.

use strict;
use warnings;

use IO::Poll qw(POLLIN POLLHUP);
use IO::Socket::INET;
use JSON::PP qw(decode_json encode_json);
use POSIX ();
use Time::HiRes qw(sleep time);


sub new {
    my ($class, $port) = @_;

    return bless { port => $port, sent => [] }, $class;
}


sub send {
    my ($self, $path) = @_;
    my $socket = connection($self->{port}) // die "cannot connect: $!\n";
    my $one = { socket => $socket, bytes => '', sent => time };

    syswrite $socket, ask($path, 'close');
    push @{ $self->{sent} }, $one;
    return $one;
}


sub leave {
    my ($self, $one) = @_;

    close $one->{socket};
    @{ $self->{sent} } = grep { $_ != $one } @{ $self->{sent} };
    return;
}


sub receive {
    my ($self, $seconds) = @_;
    my $end = time + $seconds;
    my $poll = IO::Poll->new;
    my @sent = splice @{ $self->{sent} };
    my %open;

    for my $one (@sent) {
        $open{ fileno $one->{socket} } = $one;
        $poll->mask($one->{socket} => POLLIN);
    }

    while (%open && time < $end) {
        $poll->poll($end - time);

        for my $socket ($poll->handles(POLLIN | POLLHUP)) {
            my $one = $open{ fileno $socket };

            next if sysread $socket, $one->{bytes}, 65536, length $one->{bytes};

            $one->{received} = time;
            delete $open{ fileno $socket };
            $poll->remove($socket);
        }
    }

    return map { {
        %{ $_->{received} ? response($_->{bytes}) : {} },
        sent => $_->{sent}, received => $_->{received},
    } } @sent;
}


sub connection {
    my ($port) = @_;

    return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port,
        Proto => 'tcp', Timeout => 5);
}


sub ask {
    my ($path, $connection, $method) = @_;

    return ($method // 'GET') . " $path HTTP/1.1\r\nHost: localhost\r\n"
        . "Connection: $connection\r\n\r\n";
}


sub response {
    my ($bytes) = @_;
    my ($head, $content) = split /\r\n\r\n/, $bytes, 2;

    return { status => 0, headers => {}, content => '' }
        if !defined $content || $head !~ m{^HTTP/1\.1 (\d+)};

    return {
        status => $1, content => $content,
        headers => { map { lc $_->[0] => $_->[1] }
            map { [split /:\s*/, $_, 2] } grep { /:/ } split /\r\n/, $head },
    };
}


sub load {
    my ($class, $port, $path, %options) = @_;
    my $self = bless { children => [] }, $class;

    for (1 .. $options{processes} // 2) {
        pipe(my $from, my $to) or die "pipe: $!\n";

        my $pid = fork // die "fork: $!\n";

        if ($pid == 0) {
            close $from;
            my $result = eval { work($port, $path, \%options) }
                // { why => { $@ => 1 }, failed => 1, requests => 0,
                     times => [], tokens => {}, failures => [] };
            print $to encode_json($result);
            close $to;
            POSIX::_exit(0);
        }

        close $to;
        push @{ $self->{children} }, { pid => $pid, from => $from };
    }

    return $self;
}


sub stop {
    my ($self) = @_;
    my %all = (requests => 0, failed => 0, why => {}, tokens => {},
        failures => []);
    my @times;

    kill TERM => $_->{pid} for @{ $self->{children} };

    for my $child (@{ $self->{children} }) {
        local $/;
        my $result = decode_json(readline $child->{from});

        waitpid $child->{pid}, 0;

        $all{$_} += $result->{$_} for qw(requests failed);
        push @times, @{ $result->{times} };
        push @{ $all{failures} }, @{ $result->{failures} };

        for my $what (qw(why tokens)) {
            $all{$what}{$_} += $result->{$what}{$_}
                for keys %{ $result->{$what} };
        }
    }

    $all{times} = [sort { $a <=> $b } @times];
    $all{slowest} = $all{times}[-1] // 0;
    return \%all;
}


sub work {
    my ($port, $path, $options) = @_;
    my %result = (requests => 0, failed => 0, why => {}, tokens => {},
        times => [], failures => []);
    my $end = time + ($options->{seconds} // 30);
    my $request = ask($path, $options->{close} ? 'close' : 'keep-alive',
        $options->{method});
    my $stop = 0;
    my $socket;

    local $SIG{TERM} = sub { $stop = 1 };
    local $SIG{PIPE} = 'IGNORE';

    until ($stop || time > $end) {
        my $start = time;
        my ($why, $content);

        # On a connection that was used before, an end without a byte is the
        # server's way to close it: asked again (RFC 9112 9.3.1).
        for (1, 2) {
            my $used = $socket;

            $socket //= connection($port);
            ($why, $content) = $socket ? exchange($socket, $request)
                : ("no connection: $!");

            undef $socket if $why || $options->{close};
            last unless $used && $why && $why eq 'closed';
        }

        $result{requests}++;
        push @{ $result{times} }, sprintf '%.6f', time - $start;

        if ($why) {
            $result{failed}++;
            $result{why}{$why}++;
            push @{ $result{failures} }, [$start, time, $why];
            sleep 0.01;

        } elsif ($content =~ /"access_token":"([^"]*)"/) {
            $result{tokens}{$1}++;
        }

        sleep $options->{gap} if $options->{gap};
    }

    return \%result;
}


# What is wrong, and the content.
sub exchange {
    my ($socket, $request) = @_;
    my $bytes = '';
    my $poll = IO::Poll->new;

    defined syswrite($socket, $request) or return 'closed';
    $poll->mask($socket => POLLIN);

    my $end = time + 10;

    while (1) {
        my $left = $end - time;
        return 'no answer' if $left <= 0 || $poll->poll($left) == 0;

        sysread $socket, $bytes, 65536, length $bytes
            or return length $bytes ? 'cut off' : 'closed';

        my ($head, $content) = split /\r\n\r\n/, $bytes, 2;
        next if !defined $content;

        my ($status) = $head =~ m{^HTTP/1\.1 (\d+)};
        my ($length) = $head =~ /^Content-Length: (\d+)/mi;
        next if length $content < ($length // 0) && $request !~ /^HEAD/;

        return ($status == 200 ? undef : "status $status", $content);
    }
}

1;
