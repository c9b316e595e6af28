package Token::Shapes;

# How callers behave: each shape makes, for a location of Token::Callers, what
# is sent on one connection, when, and what has to come back. Token::Loop plays
# it.
#
#     for my $shape (Token::Shapes->all) {
#         my $script = Token::Shapes->script($shape, $location) or next;
#     }
#
# A shape is a hash: "name", "group", and "make", a function that gets an empty
# script and fills it, or returns false where it makes no sense. A script has
#
#     steps   what to do, in order:
#               [send => BYTES] [pause => SECONDS] [await => ANSWERS]
#               [hundred] until "100 Continue" [half] closes one direction
#               [leave] closes [reset] closes with RST [hold => SECONDS] reads
#               nothing for so long
#     right   for each request, the answers that are right (Token::Callers)
#     leaves  1: it goes, and what it got does not matter
#     tls     1: by TLS
#     narrow  1: with a small receive buffer

use strict;
use warnings;

use Time::HiRes qw(time);
use Token::Callers qw(right);
use Token::Http2;
use Token::Loop;

my $ids = 0;
my $run = sprintf '%x', $$;


# Ids begin anew, with another prefix: for a run that is to be repeated.
sub begin { ($run, $ids) = ($_[1], 0); return }


sub script {
    my ($class, $shape, $location, %options) = @_;
    my $self = bless {
        location => $location, steps => [], right => [], asked => [],
        name => "$location->{name}: $shape->{name}", group => $shape->{group},
        shape => $shape->{name}, k => 'k' . $run . 'x' . ++$ids, %options,
    }, $class;

    return $shape->{make}->($self) ? $self : undef;
}


# One request: its bytes are "head" and "wire" (the body as it is sent).
sub request {
    my ($self, %o) = @_;
    my $location = $self->{location};
    my $n = 'n' . $run . 'x' . ++$ids;
    my $method = $o{method} // 'GET';
    my $version = $o{version} // '1.1';
    my $close = $o{close} || ($version eq '1.0' && !$o{keep});
    my @headers = ('Host: a', @{ $location->{headers} // [] },
        @{ $o{headers} // [] });
    my $d = $o{d} // $self->{d};
    my $query = join '&', "n=$n", "k=$self->{k}", grep { defined }
        $location->{query}, defined $d ? "d=$d" : undef, $o{query};
    my $request = { %o, method => $method, version => $version, n => $n,
        k => $self->{k}, close => $close };

    $self->{d} //= $d;
    push @headers, 'Connection: close' if $o{close};
    push @headers, 'Connection: keep-alive' if $o{keep};

    if (defined $o{body}) {
        my $content = $self->content($n, $o{body}, $d);

        if ($location->{kind} eq 'refresh') {
            push @headers, 'Content-Type: application/x-www-form-urlencoded';
            $request->{form} = $o{body} || $o{chunked};
        }

        if ($o{chunked}) {
            push @headers, 'Transfer-Encoding: chunked';
            $request->{wire} = chunks($content, $o{pieces} // 7, $o{extension} // '',
                $o{trailer} // '');
        } else {
            push @headers, 'Content-Length: ' . length $content;
            $request->{wire} = $content;
        }

        $request->{content} = $content;
        $request->{length} = length $content;
    }

    my $uri = ($o{absolute} ? 'http://a' : '') . "$location->{path}?$query";

    $request->{wire} //= '';
    $request->{head} = join "\r\n", "$method $uri HTTP/$version", @headers, '', '';
    return $request;
}


# The body: for a refresh grant a form.
sub content {
    my ($self, $n, $length, $d) = @_;
    my $location = $self->{location};
    my $content = "body-of-$n-";

    if ($location->{kind} eq 'refresh') {
        my $token = sprintf 'RT-%s-d%d-h%s-s%d', $n, $d // 60,
            $location->{dead} // '', $self->{size} // 0;

        return '' if !$length;
        $content = "grant_type=refresh_token&refresh_token=$token&scope=";
        return $content . 'a' x ($length - length $content)
            if $length > length $content;
        return $content . 'a';
    }

    return substr $content x (1 + $length / length $content), 0, $length;
}


sub chunks {
    my ($content, $pieces, $extension, $trailer) = @_;
    my $size = 1 + int length($content) / $pieces;

    return join '', (map { sprintf "%x%s\r\n%s\r\n", length, $extension, $_ }
        length $content ? unpack "(a$size)*", $content : ()), "0\r\n$trailer\r\n";
}


# Whether the answer of this location waits for the whole body.
sub waits {
    my ($self, %o) = @_;
    my $location = $self->{location};

    return $location->{reads} || ($location->{kind} eq 'refresh' && !$o{chunked});
}


# Whether the answer takes as long as the request says.
sub fetches {
    my ($self) = @_;
    my $location = $self->{location};

    return $self->waits || ($location->{kind} eq 'token'
        && $location->{whose} =~ /^(?:own|k)$/);
}


sub send { push @{ $_[0]{steps} }, [send => join '', @_[1 .. $#_]]; $_[0] }
sub pause { push @{ $_[0]{steps} }, [pause => $_[1]]; $_[0] }
sub hundred { push @{ $_[0]{steps} }, ['hundred']; $_[0] }
sub half { push @{ $_[0]{steps} }, ['half']; $_[0] }
sub hold { push @{ $_[0]{steps} }, [hold => $_[1]]; $_[0] }


# The answer of a request is due, with what else would be right.
sub owes {
    my ($self, $request, @more) = @_;

    push @{ $self->{right} }, [right($self->{location}, $request), @more];
    push @{ $self->{asked} }, $request;
    return $self;
}


sub await {
    my ($self) = @_;

    push @{ $self->{steps} }, [await => scalar @{ $self->{right} }];
    return $self;
}


# A whole request.
sub ask {
    my ($self, %o) = @_;
    my $request = $self->request(%o);

    return $self->send($request->{head}, $request->{wire})->owes($request);
}


# The connection goes on.
sub again { my ($self, %o) = @_; return $self->await->ask(d => 20, %o)->await }


sub goes {
    my ($self, $how) = @_;

    $self->{leaves} = 1;
    push @{ $self->{steps} }, [$how];
    return $self;
}


my $NONE = { none => 1 };

# name, group, what it does
my @SHAPES;

sub shape { push @SHAPES, { name => $_[0], group => $_[1], make => $_[2] }; return }


# --- a body that is late

# Fault 1: a plain POST in two packets.
shape 'body in a second packet' => 'late', sub {
    my ($s) = @_;
    my $r = $s->request(method => 'POST', body => 40, d => 150);

    $s->send($r->{head})->pause(0.05)->send($r->{wire})->owes($r)->again;
};

shape 'body after the answer' => 'late', sub {
    my ($s) = @_;
    return if $s->waits;
    my $r = $s->request(method => 'POST', body => 40, d => 60);

    $s->send($r->{head})->owes($r)->await->pause(0.05)->send($r->{wire})->again;
};

shape 'body in three packets' => 'late', sub {
    my ($s) = @_;
    my $r = $s->request(method => 'POST', body => 400, d => 150);

    $s->send($r->{head});
    $s->pause(0.04)->send($_) for unpack '(a150)*', $r->{wire};
    $s->owes($r)->again(method => 'POST', body => 10);
};

shape 'body byte by byte' => 'late', sub {
    my ($s) = @_;
    my $r = $s->request(method => 'POST', body => 30, d => 200);

    $s->send($r->{head});
    $s->pause(0.01)->send($_) for split //, $r->{wire};
    $s->owes($r)->again;
};

shape 'body with the next request behind it' => 'late', sub {
    my ($s) = @_;
    my $r = $s->request(method => 'POST', body => 40, d => 150);
    my $next = $s->request(d => 20);

    $s->send($r->{head})->pause(0.05)->send($r->{wire}, $next->{head});
    $s->owes($r)->owes($next)->again;
};

shape 'half a body with the header' => 'late', sub {
    my ($s) = @_;
    my $r = $s->request(method => 'POST', body => 200, d => 150);

    $s->send($r->{head}, substr $r->{wire}, 0, 100)->pause(0.05);
    $s->send(substr $r->{wire}, 100)->owes($r)->again;
};

shape 'a large body, late' => 'late', sub {
    my ($s) = @_;
    my $r = $s->request(method => 'POST', body => 300_000, d => 150);

    $s->send($r->{head})->pause(0.03)->send($r->{wire})->owes($r)->again;
};

shape 'GET with a late body' => 'late', sub {
    my ($s) = @_;
    my $r = $s->request(body => 40, d => 150);

    $s->send($r->{head})->pause(0.05)->send($r->{wire})->owes($r)->again;
};

shape 'HEAD with a late body' => 'late', sub {
    my ($s) = @_;
    my $r = $s->request(method => 'HEAD', body => 40, d => 150);

    $s->send($r->{head})->pause(0.05)->send($r->{wire})->owes($r)->again;
};

shape 'PUT with a late body' => 'late', sub {
    my ($s) = @_;
    my $r = $s->request(method => 'PUT', body => 40, d => 100);

    $s->send($r->{head})->pause(0.05)->send($r->{wire})->owes($r)->again;
};

shape 'the body of a kept connection is late' => 'late', sub {
    my ($s) = @_;

    $s->ask(d => 20)->await;
    my $r = $s->request(method => 'POST', body => 40, d => 150);
    $s->send($r->{head})->pause(0.05)->send($r->{wire})->owes($r)->again;
};

# Fault 2: the fetch takes longer than lingering_timeout.
shape 'a late body, a slow endpoint' => 'slow', sub {
    my ($s) = @_;
    my $r = $s->request(method => 'POST', body => 40, d => 1500);

    $s->send($r->{head})->pause(0.1)->send($r->{wire})->owes($r)->again;
};

shape 'a body as late as the endpoint is slow' => 'slow', sub {
    my ($s) = @_;
    my $r = $s->request(method => 'POST', body => 40, d => 1500);

    return if !$s->fetches;
    $s->send($r->{head})->pause(1.2)->send($r->{wire})->owes($r)->again;
};

shape 'an unfinished body, a slow endpoint' => 'slow', sub {
    my ($s) = @_;
    return if $s->waits;
    my $r = $s->request(method => 'POST', body => 40, d => 1500);

    $s->send($r->{head})->pause(0.3)->send(substr $r->{wire}, 0, 20);
    $s->owes($r)->await->send(substr $r->{wire}, 20)->again;
};

shape 'a slow endpoint, twice' => 'slow', sub {
    my ($s) = @_;

    $s->ask(method => 'POST', body => 30, d => 1300)->again(method => 'POST', body => 5);
};


# --- a body of another length than declared

shape 'an unfinished body' => 'length', sub {
    my ($s) = @_;
    my $r = $s->request(method => 'POST', body => 80, body_is => 'unfinished');

    $s->send($r->{head}, substr $r->{wire}, 0, 30)->owes($r)->await;
};

shape 'a body that never begins' => 'length', sub {
    my ($s) = @_;
    my $r = $s->request(method => 'POST', body => 80, body_is => 'unfinished');

    $s->send($r->{head})->owes($r)->await;
};

shape 'an unfinished body of a request that closes' => 'length', sub {
    my ($s) = @_;
    my $r = $s->request(method => 'POST', body => 80, body_is => 'unfinished', close => 1);

    $s->send($r->{head}, substr $r->{wire}, 0, 30)->owes($r)->await;
};

shape 'a body that is longer than declared' => 'length', sub {
    my ($s) = @_;
    my $r = $s->request(method => 'POST', body => 40);
    my $rest = $s->request(bad => 400);

    $s->send($r->{head}, $r->{wire}, "\1\2rest\r\n\r\n")->owes($r);
    push @{ $s->{right} }, [{ status => 400, last => 1, odd => 1 }];
    push @{ $s->{asked} }, $rest;
    $s->await;
};

shape 'a body with an empty line behind it' => 'length', sub {
    my ($s) = @_;
    my $r = $s->request(method => 'POST', body => 40);

    $s->send($r->{head}, $r->{wire}, "\r\n")->owes($r)->again;
};

shape 'more than client_max_body_size allows' => 'length', sub {
    my ($s) = @_;
    my $r = $s->request(method => 'POST', body => 9000);

    $s->send($r->{head})->pause(0.03)->send($r->{wire})->owes($r)->again;
};


# --- chunks

my %CHUNKED = (method => 'POST', body => 60, chunked => 1);

shape 'chunks in one packet' => 'chunked', sub {
    my ($s) = @_;

    $s->ask(%CHUNKED)->again;
};

shape 'chunks that are late' => 'chunked', sub {
    my ($s) = @_;
    return if $s->{location}{stock_chunks};
    my $r = $s->request(%CHUNKED, d => 150);

    $s->send($r->{head})->pause(0.05)->send($r->{wire})->owes($r)->again;
};

shape 'chunks cut in pieces' => 'chunked', sub {
    my ($s) = @_;
    my $r = $s->request(%CHUNKED, d => 200);

    $s->send($r->{head});
    $s->pause(0.01)->send($_) for unpack '(a5)*', $r->{wire};
    $s->owes($r)->again;
};

shape 'chunks with extensions' => 'chunked', sub {
    my ($s) = @_;
    my $r = $s->request(%CHUNKED, d => 150, extension => ';a=b;c="d"');

    $s->send($r->{head})->pause(0.05)->send($r->{wire})->owes($r)->again;
};

shape 'chunks with trailers' => 'chunked', sub {
    my ($s) = @_;
    my $r = $s->request(%CHUNKED, d => 150, trailer => "X-One: 1\r\nX-Two: 2\r\n");

    $s->send($r->{head})->pause(0.05)->send($r->{wire})->owes($r)->again;
};

shape 'the last chunk is late' => 'chunked', sub {
    my ($s) = @_;
    my $r = $s->request(%CHUNKED, d => 100);
    my $next = $s->request(d => 20);

    $s->send($r->{head}, substr $r->{wire}, 0, -5)->pause(0.06);
    $s->send(substr($r->{wire}, -5), $next->{head})->owes($r)->owes($next)->again;
};

shape 'no chunk but the last' => 'chunked', sub {
    my ($s) = @_;
    my $r = $s->request(%CHUNKED, body => 0, d => 100);

    $s->send($r->{head})->pause(0.03)->send($r->{wire})->owes($r)->again;
};

shape 'large chunks' => 'chunked', sub {
    my ($s) = @_;
    my $r = $s->request(%CHUNKED, body => 200_000, d => 100);

    $s->send($r->{head})->pause(0.03)->send($r->{wire})->owes($r)->again;
};

shape 'chunks without an end' => 'chunked', sub {
    my ($s) = @_;
    my $r = $s->request(%CHUNKED, body_is => 'unfinished');

    $s->send($r->{head}, substr $r->{wire}, 0, -9)->owes($r)->await;
};

shape 'chunks that are invalid after a while' => 'chunked', sub {
    my ($s) = @_;
    my $r = $s->request(%CHUNKED, d => 150, body_is => 'invalid');

    $s->send($r->{head}, "5\r\nabcde\r\n")->pause(0.05)->send("zz\r\n")->owes($r)->await;
};

shape 'a chunk of an invalid size at once' => 'chunked', sub {
    my ($s) = @_;
    my $r = $s->request(%CHUNKED, body_is => 'invalid');

    $s->send($r->{head}, "fffffffffffffffffff\r\n")->owes($r)->await;
};

shape 'an invalid chunk after the answer' => 'chunked', sub {
    my ($s) = @_;
    return if $s->waits(chunked => 1);
    my $r = $s->request(%CHUNKED);

    $s->send($r->{head}, "5\r\nabcde\r\n")->owes($r)->await->send("zz\r\n");
};


# --- kept and pipelined

shape 'GET twice' => 'kept', sub { $_[0]->ask(d => 40)->again };
shape 'HEAD and GET' => 'kept', sub { $_[0]->ask(method => 'HEAD')->again };
shape 'GET and close' => 'kept', sub { $_[0]->ask(close => 1)->await };
shape 'HTTP/1.0' => 'kept', sub { $_[0]->ask(version => '1.0')->await };
shape 'HTTP/1.0, kept' => 'kept', sub {
    $_[0]->ask(version => '1.0', keep => 1)->again(version => '1.0');
};
shape 'HTTP/1.0, POST, late' => 'kept', sub {
    my ($s) = @_;
    my $r = $s->request(version => '1.0', method => 'POST', body => 40, d => 120);

    $s->send($r->{head})->pause(0.05)->send($r->{wire})->owes($r)->await;
};
shape 'OPTIONS' => 'kept', sub { $_[0]->ask(method => 'OPTIONS')->again };
shape 'OPTIONS with a late body' => 'kept', sub {
    my ($s) = @_;
    my $r = $s->request(method => 'OPTIONS', body => 40);

    $s->send($r->{head})->pause(0.05)->send($r->{wire})->owes($r)->again;
};
shape 'TRACE' => 'kept', sub { $_[0]->ask(method => 'TRACE')->await };
shape 'TRACE with a late body' => 'kept', sub {
    my ($s) = @_;
    my $r = $s->request(method => 'TRACE', body => 40);

    $s->send($r->{head})->pause(0.05)->send($r->{wire})->owes($r)->await;
};
shape 'PUT' => 'kept', sub { $_[0]->ask(method => 'PUT', body => 20)->again };
shape 'DELETE' => 'kept', sub { $_[0]->ask(method => 'DELETE')->again };
shape 'an unknown method' => 'kept', sub { $_[0]->ask(method => 'FOO')->again };
shape 'an absolute URI' => 'kept', sub { $_[0]->ask(absolute => 1)->again };
shape 'Upgrade' => 'kept', sub {
    $_[0]->ask(headers => ['Upgrade: websocket', 'Connection: Upgrade'])->again;
};
shape 'Upgrade to HTTP/2, with a body' => 'kept', sub {
    my ($s) = @_;
    my $r = $s->request(method => 'POST', body => 30, d => 100, headers =>
        ['Upgrade: h2c', 'Connection: Upgrade, HTTP2-Settings', 'HTTP2-Settings: AAMAAABk']);

    $s->send($r->{head})->pause(0.04)->send($r->{wire})->owes($r)->again;
};

for my $n (2, 5, 20) {
    shape "$n requests in one packet" => 'pipelined', sub {
        my ($s) = @_;
        my @r = map { $s->request(d => 30) } 1 .. $n;

        $s->send(map { $_->{head} } @r);
        $s->owes($_) for @r;
        $s->await;
    };
}

shape '3 POSTs in one packet' => 'pipelined', sub {
    my ($s) = @_;
    my @r = map { $s->request(d => 50, method => 'POST', body => 25) } 1 .. 3;

    $s->send(map { $_->{head}, $_->{wire} } @r);
    $s->owes($_) for @r;
    $s->await;
};

shape 'all kinds of requests in one packet' => 'pipelined', sub {
    my ($s) = @_;
    my @r = map { $s->request(d => 30, @$_) } [method => 'HEAD'], [],
        [method => 'POST', body => 12], [%CHUNKED], [method => 'OPTIONS'],
        [method => 'PUT', body => 3], [], [method => 'TRACE'];

    $s->send(map { $_->{head}, $_->{wire} } @r);
    $s->owes($_) for @r;
    $s->await;
};

shape 'the last of three waits for its body' => 'pipelined', sub {
    my ($s) = @_;
    my @r = map { $s->request(d => 50, method => 'POST', body => 25) } 1 .. 3;

    $s->send((map { $_->{head}, $_->{wire} } @r[0, 1]), $r[2]{head});
    $s->pause(0.3)->send($r[2]{wire});
    $s->owes($_) for @r;
    $s->again;
};

shape 'the next request arrives during a fetch' => 'pipelined', sub {
    my ($s) = @_;
    my @r = map { $s->request(d => 150) } 1 .. 3;

    $s->send($_->{head})->pause(0.04) for @r;
    $s->owes($_) for @r;
    $s->again;
};


# --- headers

shape 'two lengths of a body' => 'headers', sub {
    my ($s) = @_;
    my $r = $s->request(method => 'POST', %CHUNKED, bad => 400,
        headers => ['Content-Length: 12']);

    $s->send($r->{head}, $r->{wire})->owes($r)->await;
};

shape 'Content-Length twice' => 'headers', sub {
    my ($s) = @_;
    my $r = $s->request(method => 'POST', body => 5, bad => 400,
        headers => ['Content-Length: 6']);

    $s->send($r->{head}, $r->{wire})->owes($r)->await;
};

shape 'an unknown coding of the body' => 'headers', sub {
    my ($s) = @_;
    my $r = $s->request(method => 'POST', bad => 501, headers => ['Transfer-Encoding: gzip']);

    $s->send($r->{head})->owes($r)->await;
};

shape 'a header that is too large' => 'headers', sub {
    my ($s) = @_;
    my $r = $s->request(bad => 400, headers => ['X-Large: ' . 'x' x 40000]);

    $s->send($r->{head})->owes($r)->await;
};

shape 'a large header in pieces' => 'headers', sub {
    my ($s) = @_;
    my $r = $s->request(headers => [map { "X-$_: " . 'y' x 900 } 1 .. 6]);

    $s->pause(0.01)->send($_) for unpack '(a700)*', $r->{head};
    $s->owes($r)->again;
};

my @EXPECT = (headers => ['Expect: 100-continue']);

shape 'Expect, the body after 100' => 'headers', sub {
    my ($s) = @_;
    my $r = $s->request(method => 'POST', body => 40, d => 100, @EXPECT);

    $s->send($r->{head})->hundred->send($r->{wire})->owes($r)->again;
};

shape 'Expect, the body does not wait for it' => 'headers', sub {
    my ($s) = @_;
    my $r = $s->request(method => 'POST', body => 40, d => 100, @EXPECT);

    $s->send($r->{head})->pause(0.03)->send($r->{wire})->owes($r)->again;
};

shape 'Expect, the body at once' => 'headers', sub {
    $_[0]->ask(method => 'POST', body => 40, @EXPECT)->again;
};

shape 'Expect, and no body' => 'headers', sub {
    my ($s) = @_;
    my $r = $s->request(method => 'POST', body => 40, body_is => 'unfinished', @EXPECT);

    $s->send($r->{head})->owes($r)->await;
};

shape 'Expect, chunks' => 'headers', sub {
    my ($s) = @_;
    my $r = $s->request(%CHUNKED, d => 100, @EXPECT);

    $s->send($r->{head})->pause(0.03)->send($r->{wire})->owes($r)->again;
};


# --- callers who leave

for my $how (qw(leave reset)) {
    my $way = $how eq 'leave' ? 'FIN' : 'RST';

    shape "$way in the header" => 'leaves', sub {
        my ($s) = @_;

        $s->send(substr $s->request->{head}, 0, 30)->pause(0.02)->goes($how);
    };

    shape "$way at once" => 'leaves', sub {
        my ($s) = @_;

        $s->send($s->request(d => 150)->{head})->goes($how);
    };

    shape "$way while a token is fetched" => 'leaves', sub {
        my ($s) = @_;

        $s->send($s->request(d => 200)->{head})->pause(0.08)->goes($how);
    };

    shape "$way while a token is fetched, half a body sent" => 'leaves', sub {
        my ($s) = @_;
        my $r = $s->request(method => 'POST', body => 200, d => 200);

        $s->send($r->{head})->pause(0.03)->send(substr $r->{wire}, 0, 90)
            ->pause(0.05)->goes($how);
    };

    shape "$way behind a whole body" => 'leaves', sub {
        my ($s) = @_;
        my $r = $s->request(method => 'POST', body => 2000, d => 200);

        $s->send($r->{head})->pause(0.03)->send($r->{wire})->goes($how);
    };

    shape "$way among pipelined requests" => 'leaves', sub {
        my ($s) = @_;

        $s->send(map { $s->request(d => 100)->{head} } 1 .. 4)->pause(0.15)->goes($how);
    };

    shape "$way while the answer is sent" => 'leaves', sub {
        my ($s) = @_;

        $s->large or return;
        $s->send($s->request(d => 30, query => $s->{large})->{head})->hold(0.3)->goes($how);
    };

    shape "$way on a kept connection" => 'leaves', sub {
        my ($s) = @_;

        $s->ask->await->goes($how);
    };
}

shape 'half closed in the header' => 'half', sub {
    my ($s) = @_;
    my $r = $s->request;

    $s->send(substr $r->{head}, 0, 30)->pause(0.02)->half;
    push @{ $s->{right} }, [$NONE];
    push @{ $s->{asked} }, $r;
    $s->await;
};

# Fault 5: proxy_ignore_client_abort.
shape 'half closed behind the request' => 'half', sub {
    my ($s) = @_;

    $s->half_closed($s->request(d => 120), 0);
};

shape 'half closed while a token is fetched' => 'half', sub {
    my ($s) = @_;

    $s->half_closed($s->request(d => 200), 0.08);
};

shape 'half closed behind a body' => 'half', sub {
    my ($s) = @_;

    $s->half_closed($s->request(method => 'POST', body => 60, d => 150), 0.03);
};

shape 'half closed in a body' => 'half', sub {
    my ($s) = @_;
    my $r = $s->request(method => 'POST', body => 100, d => 120);

    $s->send($r->{head})->pause(0.03)->send(substr $r->{wire}, 0, 50)->half;
    $s->owes($r, $NONE, { status => 400, last => undef })->await;
};


# --- readers that stop

shape 'reads later' => 'reader', sub {
    my ($s) = @_;

    $s->large or return;
    $s->ask(d => 30, query => $s->{large})->hold(0.7)->again;
};

shape 'reads nothing' => 'reader', sub {
    my ($s) = @_;

    $s->large or return;
    my $r = $s->request(d => 30, query => $s->{large});
    $s->send($r->{head})->hold(6);
    push @{ $s->{right} }, [$NONE];
    push @{ $s->{asked} }, $r;
    $s->await;
};


# Of a worker's copy, which is replaced while it is sent.
shape 'reads many later' => 'reader', sub {
    my ($s) = @_;
    my @r = map { $s->request } 1 .. 20;

    return if !$s->{location}{copied} || $s->{location}{kind} ne 'token';
    $s->{narrow} = 1;
    $s->send(map { $_->{head} } @r)->hold(0.7);
    $s->owes($_) for @r;
    $s->again;
};


# An answer that does not fit into the socket's buffers.
sub large {
    my ($self) = @_;
    my $location = $self->{location};

    return if $location->{drops} || ($location->{whose} // 'own') !~ /^(?:own|k)$/
        && $location->{kind} ne 'api';

    $self->{large} = $location->{kind} eq 'token' ? 'size=400000'
        : $location->{kind} eq 'api' ? 'asize=1500000' : return;
    $self->{narrow} = 1;
    return 1;
}


# A caller that has said all it will say. nginx takes it for one that has left,
# where it is not told otherwise.
sub half_closed {
    my ($self, $request, $after) = @_;

    $self->send($request->{head}, $request->{wire});
    $self->pause($after) if $after;
    $self->half->owes($request, $self->{location}{ignores} ? () : $NONE);

    # whatever the request said of the connection
    $_->{last} = undef for @{ $self->{right}[-1] };
    return $self->await;
}


sub all { return @SHAPES }


# Who asks for the same token a moment before, where the location wants that, or
# while it is renewed.
sub company {
    my ($class, $script) = @_;
    my $location = $script->{location};

    return $class->script({ name => 'company', group => 'company', make => sub {
        my ($s) = @_;

        $s->ask->await->pause(0.1) for 1 .. 8;
        return $s;
    } }, $location) if $location->{copied};

    return if !$location->{company};

    $script->{after} = 0.03;

    return $class->script({ name => 'company', group => 'company', make => sub {
        $_[0]->ask(defined $script->{d} ? (d => $script->{d}) : ())->await;
    } }, $location, k => $script->{k});
}


# Some streams of HTTP/2, one a request, as rand() wants: bodies that are late or
# come in pieces, streams that are reset. "port" is nginx's for HTTP/2.
sub streams {
    my ($class, $location, %options) = @_;
    my $window = (65535, 1000, 200_000)[rand 3];

    return $class->script({ name => 'streams of HTTP/2', group => 'http2', make => sub {
        my ($s) = @_;
        my @streams = map { $s->stream(rand) } 1 .. 1 + int rand 8;

        $s->{open} = sub { Token::Http2->connect(port => $options{port},
            tls => $options{tls}, window => $window) };
        $s->{play} = sub { $s->play($_[1], $_[2], @streams) };
        $s->{asked} = [map { $_->{request} } @streams];
        return $s;
    } }, $location, %options);
}


# What one stream is to do: "at" is when it begins, in seconds.
sub stream {
    my ($self, $chance) = @_;
    my @methods = qw(GET GET POST POST HEAD OPTIONS PUT);
    my $request = $self->request(method => $methods[rand @methods],
        d => (10, 40, 80, 150, 300)[rand 5],
        $chance < 0.5 ? (body => (1, 100, 9000, 70_000)[rand 4]) : ());
    my $at = rand 0.2;
    my $size = 1 + int length($request->{wire}) / (1 + int rand 4);

    return {
        request => $request, at => $at, next => $at,
        late => rand 0.1, reset => $chance > 0.45 && $chance < 0.6 ? $at + rand 0.2 : undef,
        # streams side by side are as many connections to limit_conn
        right => [right($self->{location}, $request),
            $self->{location}{conf} =~ /limit_conn/ ? { status => 503, odd => 1 } : ()],
        pieces => [length $request->{wire} ? unpack "(a$size)*", $request->{wire} : ()],
        headers => [map { split /: /, $_, 2 } @{ $self->{location}{headers} // [] },
            $request->{form} ? 'content-type: application/x-www-form-urlencoded' : (),
            length $request->{wire} ? 'content-length: ' . length $request->{wire} : ()],
    };
}


# A turn of all streams: undef, or what was wrong in the end.
sub play {
    my ($self, $client, $ended, @streams) = @_;
    my $now = time - ($self->{began} //= time);
    my $open = 0;

    for my $one (@streams) {
        my $stream = $one->{id} ? $client->stream($one->{id}) : undef;

        next if $one->{over};

        if (($stream && $stream->{ended}) || ($one->{reset} && $now > $one->{reset} && $one->{id})) {
            $one->{over} = 1;

            if (!$stream->{ended}) {
                $client->reset($one->{id}) if !$ended;
                next;
            }

            my @wrong = map { Token::Loop::differs($stream, $_, $one->{request}) }
                @{ $one->{right} };

            next if grep { $_ eq '' } @wrong;
            next if $self->{disturbed} && $stream->{status} >= 500;
            return "stream $one->{id}: " . join ', or ', @wrong;
        }

        return $self->{disturbed} ? '' : "stream $one->{id} is reset with $stream->{reset}"
            if $stream && defined $stream->{reset};

        $open++;
        next if $ended || $now < $one->{next};

        if (!$one->{id}) {
            $one->{id} = $client->request($one->{request}{head} =~ m{ (\S+)},
                method => $one->{request}{method},
                headers => [map { $_ % 2 ? $one->{headers}[$_] : lc $one->{headers}[$_] }
                    0 .. $#{ $one->{headers} }],
                @{ $one->{pieces} } ? (open => 1) : ());

        } elsif (@{ $one->{pieces} }) {
            my $bytes = shift @{ $one->{pieces} };
            $client->data($one->{id}, $bytes, end => !@{ $one->{pieces} });
        }

        $one->{next} = $now + $one->{late};
    }

    return '' if !$open || ($ended && $self->{disturbed});
    return $client->{fault} ? "nginx has done what it must not: $client->{fault}" : undef;
}


# Two requests that are cut after each byte (or each so many).
sub cuts {
    my ($class, $location, $step, %options) = @_;
    my @scripts;

    for my $method (qw(GET POST)) {
        my $length = 2;

        for (my $at = 1; $at < $length; $at += $step) {
            push @scripts, $class->script({ name => "$method and GET, cut after byte $at",
                group => 'cut', make => sub {
                    my ($s) = @_;
                    my @r = ($s->request(method => $method, d => 40,
                        $method eq 'POST' ? (body => 15) : ()), $s->request(d => 40));
                    my $bytes = join '', map { $_->{head}, $_->{wire} } @r;

                    $length = length $bytes;
                    $s->send(substr $bytes, 0, $at)->pause(0.02)->send(substr $bytes, $at);
                    $s->owes($_) for @r;
                    $s->await;
                } }, $location, %options);
        }
    }

    return @scripts;
}

1;
