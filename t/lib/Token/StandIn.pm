package Token::StandIn;

# A process that stands in for the token endpoints of many providers, which it
# tells apart by the Host of a request. What each of them wants is said in
# Token::Providers.
#
#     my $standin = Token::StandIn->new(
#         cert      => $cert,            # Token::Cert, for all hosts
#         providers => \%providers,      # host => { answer => sub, limit => sub }
#         now       => \&now,            # the time that its answers tell
#         dir       => $dir);            # for what it was asked
#     $standin->port;  $standin->tls_port;
#     $standin->asked('zoom.us');        # requests so far, with their status
#     $standin->limit('zoom.us');        # from now on its quota is used up
#     $standin->limit;                   # none is
#
# "answer" and "limit" get a request and return [status, body, headers]; a body
# that is a reference is sent as JSON. The request: method, path, query, headers
# (names in small letters), body.

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use IO::Socket::SSL;
use JSON::PP ();
use POSIX ();
use Token::Util qw(end_child slurp_or_empty spew);

my $json = JSON::PP->new->canonical->latin1;

# What a token request may have. Anything else would be the caller's.
my %HEADERS = map { $_ => 1 } qw(host connection content-type content-length
    accept authorization user-agent metadata metadata-flavor x-forwarded-for);


sub new {
    my ($class, %options) = @_;
    my %listen = (Listen => 64, LocalAddr => '127.0.0.1', Proto => 'tcp');
    my $plain = IO::Socket::INET->new(%listen) or die "stand-in: $!\n";
    my $tls = IO::Socket::INET->new(%listen) or die "stand-in: $!\n";
    my $pid = fork // die "stand-in: $!\n";
    my $self = bless {
        %options, pid => $pid, owner => $$,
        port => $plain->sockport, tls_port => $tls->sockport,
    }, $class;

    return $self if $pid;

    $SIG{PIPE} = 'IGNORE';
    eval { $self->serve($plain, $tls); 1 } or print STDERR "stand-in: $@";
    POSIX::_exit(0);
}


sub port { $_[0]{port} }
sub tls_port { $_[0]{tls_port} }


sub asked {
    my ($self, $host) = @_;

    return grep { $_->{host} eq $host }
        map { $json->decode($_) } split /\n/, slurp_or_empty("$self->{dir}/asked");
}


sub limit {
    my ($self, $host) = @_;

    spew("$self->{dir}/limit", $host // '');
    return;
}


sub stop { end_child($_[0]) }
sub DESTROY { $_[0]->stop }


# The child's part from here on.

sub serve {
    my ($self, $plain, $tls) = @_;
    my $select = IO::Select->new($plain, $tls);

    while (1) {
        for my $listen ($select->can_read) {
            my $client = $listen->accept or next;

            local $SIG{ALRM} = sub { die "no request\n" };

            eval {
                alarm 10;

                if ($listen == $tls) {
                    IO::Socket::SSL->start_SSL($client, SSL_server => 1,
                        SSL_cert_file => $self->{cert}->file,
                        SSL_key_file => $self->{cert}->key) or die "no TLS\n";
                }

                my $request = receive($client);

                print $client $self->reply($request, $listen == $tls)
                    if $request;
            };

            alarm 0;
            close $client;
        }
    }
}


sub receive {
    my ($client) = @_;
    my $bytes = '';

    while ($bytes !~ /\r\n\r\n/) {
        sysread $client, $bytes, 65536, length $bytes or return;
    }

    my ($head, $body) = split /\r\n\r\n/, $bytes, 2;
    my ($first, @lines) = split /\r\n/, $head;
    my ($method, $uri) = split / /, $first;
    my ($path, $query) = split /\?/, $uri, 2;
    my %headers;

    for (@lines) {
        my ($name, $value) = /^([^:]+):[ \t]*(.*?)[ \t]*$/ or next;

        $headers{ lc $name } = exists $headers{ lc $name }
            ? $headers{ lc $name } . ", $value" : $value;
    }

    while (length $body < ($headers{'content-length'} // 0)) {
        sysread $client, $body, 65536, length $body or return;
    }

    return { method => $method, path => $path, query => $query,
        headers => \%headers, body => $body };
}


sub reply {
    my ($self, $request, $secure) = @_;
    my $host = $request->{headers}{host} // '';
    my $provider = $self->{providers}{$host};
    my @odd = grep { !$HEADERS{$_} } sort keys %{ $request->{headers} };
    my $answer;

    # A secret is sent by TLS alone.
    if (!$provider || $secure != !$provider->{plain}) {
        $answer = [404, "no provider at $host\n"];

    } elsif (@odd) {
        $answer = [400, "headers of somebody else: @odd\n"];

    } elsif (slurp_or_empty("$self->{dir}/limit") eq $host) {
        $answer = $provider->{limit}->($request);

    } else {
        $answer = eval { $provider->{answer}->($request) }
            // (ref $@ ? $@ : [500, "the stand-in is wrong: $@"]);
    }

    open my $asked, '>>', "$self->{dir}/asked" or die "asked: $!\n";
    print $asked $json->encode({ %$request, host => $host,
        status => $answer->[0] }), "\n";
    close $asked;

    return bytes($self->{now}->(), @$answer);
}


sub bytes {
    my ($now, $status, $body, @headers) = @_;

    ($body, @headers) = ($json->encode($body),
        'Content-Type' => 'application/json;charset=UTF-8', @headers)
        if ref $body;

    my $head = "HTTP/1.1 $status Status\r\nConnection: close\r\n"
        . POSIX::strftime("Date: %a, %d %b %Y %H:%M:%S GMT\r\n", gmtime $now)
        . 'Content-Length: ' . length($body) . "\r\n";

    while (my ($name, $value) = splice @headers, 0, 2) {
        $head .= "$name: $value\r\n";
    }

    return "$head\r\n$body";
}

1;
