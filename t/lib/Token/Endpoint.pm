package Token::Endpoint;

# A token endpoint that a test commands: a process of its own, which answers
# many connections at once, counts, and keeps what it was sent.
#
#     my $endpoint = Token::Endpoint->new;
#     $endpoint->url;                          # http://127.0.0.1:PORT/token
#     $endpoint->answer(expires_in => 2);      # from now on
#     $endpoint->next({ status => 503 }, { delay => 0.5 });    # then as before
#     $endpoint->calls;  $endpoint->connections;  $endpoint->requests;
#     $endpoint->log;                          # {at, status} of each call
#
# Where it listens is said once, with address => '127.0.0.2', port => 8080; it is
# a free port of 127.0.0.1 otherwise.
#
# An answer is {"access_token":"AT-N","refresh_token":"RT-N",...} for the Nth
# request. What can be said about it:
#
#     expires_in  seconds; undef leaves the member out (3600)
#     members     { name => value } to add
#     status      the status (200)
#     headers     [name => value, ...] to add
#     body        instead of the JSON; %d stands for N
#     delay       seconds before it is sent
#     pause       seconds between the first half of its bytes and the second
#     secrets     [secret, ...]: with another one of the client, in a Basic
#                 header or the form, or another client assertion, the answer is
#                 401 and "invalid_client"
#     keys        [file of a public key, ...]: the same for a client assertion
#                 (ES256) that is signed with another key
#     close       1: the connection is closed in place of an answer
#     truncate    1: half of the body is sent, and the connection closed
#     raw         bytes to send instead of everything; the connection is closed

use strict;
use warnings;

use File::Basename qw(dirname);
use IO::Select;
use IO::Socket::INET;
use JSON::PP ();
use MIME::Base64 qw(decode_base64);
use POSIX ();
use Socket qw(AF_UNIX SOCK_STREAM PF_UNSPEC);
use Time::HiRes qw(time);
use Token::Jwt qw(decode_jwt verified);
use Token::Util qw(end_child);

my $json = JSON::PP->new->canonical->latin1;


sub new {
    my ($class, %answer) = @_;

    my $listen = IO::Socket::INET->new(
        LocalAddr => delete $answer{address} // '127.0.0.1',
        LocalPort => delete $answer{port}, ReuseAddr => 1,
        Proto => 'tcp', Listen => 511)
        or die "endpoint: $!\n";

    socketpair(my $ours, my $theirs, AF_UNIX, SOCK_STREAM, PF_UNSPEC)
        or die "endpoint: $!\n";

    my $pid = fork // die "endpoint: $!\n";

    if ($pid == 0) {
        close $ours;
        $SIG{PIPE} = 'IGNORE';
        eval { serve($listen, $theirs); 1 } or print STDERR "endpoint: $@";
        POSIX::_exit(0);
    }

    close $theirs;
    $ours->autoflush;

    my $self = bless {
        pid => $pid, owner => $$, port => $listen->sockport,
        control => $ours,
    }, $class;

    close $listen;
    $self->answer(%answer) if %answer;
    return $self;
}


sub port { $_[0]{port} }
sub url { "http://127.0.0.1:$_[0]{port}" . ($_[1] // '/token') }

sub answer { my $self = shift; $self->tell({ answer => {@_} }); return }
sub next { my $self = shift; $self->tell({ next => [@_] }); return }
sub calls { $_[0]->tell({})->{calls} }
sub connections { $_[0]->tell({})->{connections} }
sub requests { @{ $_[0]->tell({})->{requests} } }
sub log { @{ $_[0]->tell({})->{log} } }

# Forgets the counts and the requests, not the answers.
sub reset { $_[0]->tell({ reset => 1 }); return }


# No more connections, as if the machine were gone.
sub stop { end_child($_[0]) }
sub DESTROY { $_[0]->stop }


sub tell {
    my ($self, $command) = @_;
    my $control = $self->{control};

    print $control $json->encode($command), "\n";
    return $json->decode(scalar(<$control>) // die "endpoint: it has ended\n");
}


# The child's part from here on.

sub serve {
    my ($listen, $control) = @_;
    my $select = IO::Select->new($listen, $control);
    my %state = (calls => 0, connections => 0, requests => [], log => []);
    my %answer;
    my @next;
    my %input;
    my @due;

    while (1) {
        my ($first) = sort { $a->{at} <=> $b->{at} } @due;
        my $wait = $first ? $first->{at} - time : undef;

        $wait = 0 if defined $wait && $wait < 0;

        for my $socket ($select->can_read($wait)) {
            if ($socket == $control) {
                my $line = <$control> // return;
                my $command = $json->decode($line);

                %answer = %{ $command->{answer} } if $command->{answer};
                push @next, @{ $command->{next} } if $command->{next};
                @state{qw(calls connections requests log)} = (0, 0, [], [])
                    if $command->{reset};

                syswrite $control, $json->encode(\%state) . "\n";

            } elsif ($socket == $listen) {
                my $client = $listen->accept or next;

                $state{connections}++;
                $input{$client} = '';
                $select->add($client);

            } elsif (!sysread $socket, $input{$socket}, 65536,
                length $input{$socket})
            {
                $select->remove($socket);
                delete $input{$socket};
                @due = grep { $_->{socket} != $socket } @due;
                close $socket;

            } else {
                while (defined(my $request = request(\$input{$socket}))) {
                    my $n = ++$state{calls};
                    my $how = { %answer, %{ shift @next // {} } };

                    push @{ $state{requests} }, $request;
                    push @{ $state{log} }, { at => time };
                    refuse($how, $request) if $how->{secrets} || $how->{keys};
                    $state{log}[-1]{status} = $how->{status} // 200;

                    my ($bytes, $close) = bytes($how, $n);
                    my $at = time + ($how->{delay} // 0);

                    if ($how->{pause}) {
                        push @due, { at => $at, socket => $socket,
                            bytes => substr $bytes, 0, length($bytes) / 2, '' };
                        $at += $how->{pause};
                    }

                    push @due, { at => $at, socket => $socket,
                        bytes => $bytes, close => $close };
                }
            }
        }

        my $now = time;

        for my $reply (grep { $_->{at} <= $now } @due) {
            my $socket = $reply->{socket};

            syswrite $socket, $reply->{bytes} if length $reply->{bytes};

            if ($reply->{close}) {
                $select->remove($socket);
                delete $input{$socket};
                close $socket;
            }
        }

        @due = grep { $_->{at} > $now && defined fileno $_->{socket} } @due;
    }
}


# Takes one whole request off the input.
sub request {
    my ($input) = @_;

    my $head = index $$input, "\r\n\r\n";
    return undef if $head < 0;

    my ($length) = substr($$input, 0, $head) =~ /^Content-Length:\s*(\d+)/mi;
    my $size = $head + 4 + ($length // 0);

    return undef if length $$input < $size;
    return substr $$input, 0, $size, '';
}


# Makes the answer a refusal, if the client has none of the secrets or keys.
sub refuse {
    my ($how, $request) = @_;
    my ($basic) = $request =~ /^Authorization: Basic (\S+)/m;
    my ($form) = $request =~ /client_(?:secret|assertion)=([^&]*)/;
    my $secret = defined $basic ? decode_base64($basic) =~ s/^[^:]*://r
        : ($form // '') =~ s/%(..)/chr hex $1/egr;

    my $known = $how->{keys}
        ? grep { verified(decode_jwt($secret), 'ES256', $_, dirname($_)) } @{ $how->{keys} }
        : grep { $_ eq $secret } @{ $how->{secrets} };

    if (!$known) {
        $how->{status} = 401;
        $how->{body} = '{"error":"invalid_client"}';
    }

    return;
}


# What is sent, and whether the connection is closed after it.
sub bytes {
    my ($how, $n) = @_;

    return ('', 1) if $how->{close};
    return ($how->{raw}, 1) if defined $how->{raw};

    my $body = $how->{body};

    if (defined $body) {
        $body =~ s/%d/$n/g;

    } else {
        my %token = (
            access_token => "AT-$n", refresh_token => "RT-$n",
            expires_in => 3600, token_type => 'Bearer',
            %{ $how->{members} // {} });

        $token{expires_in} = $how->{expires_in} if exists $how->{expires_in};
        delete $token{expires_in} unless defined $token{expires_in};
        $body = $json->encode(\%token);
    }

    my @headers = ('Content-Type' => 'application/json',
        'Content-Length' => length $body, @{ $how->{headers} // [] });
    my $head = sprintf "HTTP/1.1 %d Status\r\n", $how->{status} // 200;

    while (my ($name, $value) = splice @headers, 0, 2) {
        $head .= "$name: $value\r\n";
    }

    $body = substr $body, 0, length($body) / 2 if $how->{truncate};

    return ("$head\r\n$body", $how->{truncate});
}

1;
